"""The right model class for a folder or hub id."""

from os import PathLike
from typing import Any

from aimv2_np.backends.arrays import check_backend
from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, kind_of
from aimv2_np.config.base import naming_file
from aimv2_np.files.habits import familiar
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.pretrained import PretrainedModel, origin_of
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.storage import fetch, open_source

MODELS: dict[type, type[PretrainedModel]] = {
    Aimv2Config: Aimv2Model,
    Aimv2VisionConfig: Aimv2VisionModel,
    Aimv2TextConfig: Aimv2TextModel,
}
PLACE = ("backend", "dtype", "device", "progress", "final_norm")  # what `from_source` takes


def load(path_or_hub_id: str | PathLike[str], **options: Any) -> Any:
    """The model in a folder or of a hub id: two towers, vision alone or text alone, as its `config.json` says.

    An AIMv2 inside a larger checkpoint is found wherever it is (docs/layouts.md). Takes the options of
    `Aimv2Model.from_pretrained` and raises what it raises.
    """
    options = familiar(options)
    place = {name: options.pop(name) for name in PLACE if name in options}
    check_backend(place.get("backend", "numpy"), place.get("dtype"), place.get("device"))
    prefix = options.pop("prefix", None)
    source = open_source(fetch(path_or_hub_id, **options), prefix)
    with naming_file(source.folder):
        kind = kind_of(source.values)
    model = MODELS[kind].from_source(source, **place)
    model.origin = origin_of(
        path_or_hub_id, revision=options.get("revision"), prefix=prefix, final_norm=place.get("final_norm", True)
    )
    return model
