"""The right model class for a folder or hub id."""

from os import PathLike
from typing import Unpack, cast

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, kind_of
from aimv2_np.config.base import naming_file
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.options import ModelOptions
from aimv2_np.models.pretrained import AnyModel, load_as
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.storage import Source

LoadedModel = Aimv2Model | Aimv2VisionModel | Aimv2TextModel
MODELS: dict[type, type[AnyModel]] = {
    Aimv2Config: Aimv2Model,
    Aimv2VisionConfig: Aimv2VisionModel,
    Aimv2TextConfig: Aimv2TextModel,
}


def load(path_or_hub_id: str | PathLike[str], **options: Unpack[ModelOptions]) -> LoadedModel:
    """The model in a folder or of a hub id: two towers, vision alone or text alone, as its `config.json` says.

    `isinstance` tells which one it is; `Aimv2Model.from_pretrained` and the others' return what they are called on.

    An AIMv2 inside a larger checkpoint is found wherever it is (docs/layouts.md). Takes the options of
    `Aimv2Model.from_pretrained` and raises what it raises.
    """
    return cast(LoadedModel, load_as(_class_of, path_or_hub_id, **options))


def _class_of(source: Source) -> type[AnyModel]:
    with naming_file(source.folder):
        return MODELS[kind_of(source.values)]
