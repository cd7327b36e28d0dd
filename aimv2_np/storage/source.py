"""A folder as a model's source: its weights under our names, whatever their layout, and its configuration."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from aimv2_np.config import AnyConfig, config_from_dict, read_config
from aimv2_np.config.base import naming_file
from aimv2_np.errors import CheckpointError
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.locate import CONFIG_FILES, resolve
from aimv2_np.storage.checkpoint import INDEX, OTHERS, SINGLE, Checkpoint, Tensors, open_checkpoint, shard_names
from aimv2_np.storage.dialects import from_timm, is_timm
from aimv2_np.storage.infer import complete, inferred
from aimv2_np.storage.inside import LeftAside, Place, choose_place, inside
from aimv2_np.storage.layouts import transformers
from aimv2_np.storage.layouts.detect import detect
from aimv2_np.storage.layouts.foreign import ADAPTER_FILES, ANYWHERE, TELLTALES, looks_like
from aimv2_np.storage.layouts.table import Layout
from aimv2_np.storage.sections import KINDS, is_wrapped, section
from aimv2_np.storage.translated import translated


@dataclass(frozen=True)
class Source:
    """What `open_source` found in a folder.

    Attributes:
        folder: where it is.
        values: its config.json under Transformers' keys, completed from the shapes of the weights.
        layout: how the weights are stored.
        tensors: the weights under our names.
        checkpoint: all tensors in the folder under their own names.
    """

    folder: Path
    values: dict[str, Any]
    layout: Layout
    tensors: Tensors
    checkpoint: Checkpoint

    def left_aside(self, used: Iterable[str]) -> LeftAside:
        """The folder's tensors but those `used` (names that `tensors` has) and those that the layout ignores."""
        origins = {self.tensors.origin(name) for name in used}
        return LeftAside(self.checkpoint, {*origins, *filter(self.layout.ignores, self.checkpoint.shapes)})


def fetch(path_or_hub_id: str | os.PathLike[str], extra: tuple[str, ...] = (), **options: Unpack[HubOptions]) -> Path:
    """The folder of a model, with its configuration, its weights and the files `extra` (patterns).

    Of a repository that holds the same weights several times one set is downloaded: `model.safetensors`, or else the
    files that an index names, or else the first of the other layouts. Raises what `locate.resolve` raises, and
    CheckpointError for an index that makes no sense.
    """
    files = (*CONFIG_FILES, *extra)
    folder = resolve(path_or_hub_id, files=(*files, SINGLE, INDEX), **options)
    if folder == Path(path_or_hub_id) or os.path.lexists(folder / SINGLE):
        return folder
    if (folder / INDEX).exists():
        return resolve(path_or_hub_id, files=(*files, INDEX, *shard_names(folder)), **options)
    for other in OTHERS:
        folder = resolve(path_or_hub_id, files=(*files, other), **options)
        if os.path.lexists(folder / other):
            break
    return folder


def open_source(folder: str | os.PathLike[str], prefix: str | None = None) -> Source:
    """The weights and the configuration in a folder; `prefix` chooses where it holds several AIMv2.

    Raises FileNotFoundError when either is missing, and CheckpointError for damaged files, for weights that are known
    to be another model's, and for a configuration that lacks what the weights do not tell.
    """
    folder = Path(folder)
    try:
        checkpoint = open_checkpoint(folder)
    except (FileNotFoundError, CheckpointError):
        for name in filter(lambda name: (folder / name).exists(), ADAPTER_FILES):
            raise CheckpointError(
                f"{folder} is no AIMv2: it looks like {next(iter(TELLTALES))} (it has {name})"
            ) from None
        read_config(folder)  # a configuration that is missing or damaged says more than missing weights
        raise
    tensors, place = find_model(checkpoint, prefix)
    return source_of(read_config(folder), checkpoint, tensors, place)


def find_model(checkpoint: Checkpoint, prefix: str | None = None) -> tuple[Tensors, Place | None]:
    """The tensors of the AIMv2 in a checkpoint, under the names of its layout, and its place, where one is found.

    Raises CheckpointError when the names are those of a model that is known and not AIMv2.
    """
    place = choose_place(checkpoint, prefix)
    tensors = inside(checkpoint, place) if place else checkpoint
    what = looks_like(checkpoint.shapes, ANYWHERE) or looks_like(tensors.shapes)
    if what:
        raise CheckpointError(
            f"{checkpoint.folder} is no AIMv2: it looks like {what}; expected the weights of an AIMv2, "
            "such as 'apple/aimv2-large-patch14-224'"
        )
    return tensors, place


def source_of(values: dict[str, Any], checkpoint: Checkpoint, found: Tensors, place: Place | None) -> Source:
    """The source of a parsed config.json and the result of `find_model`; raises what `open_source` raises."""
    folder = checkpoint.folder
    layout = detect(found, _channels(values))
    ours = layout is transformers.LAYOUT
    tensors: Tensors = found if ours else translated(found, layout)
    with naming_file(folder):
        if place and (place.prefix or is_wrapped(values)):
            values = section(values, inferred(tensors.shapes))
            ours = ours and bool(values)
        values = from_timm(values, by_name=False) if is_timm(values) else values
        values = complete(values, tensors.shapes, default_heads=ours)
    return Source(folder, values, layout, tensors, checkpoint)


def expected_config(
    path_or_hub_id: str | os.PathLike[str], prefix: str | None = None, **options: Unpack[HubOptions]
) -> AnyConfig | None:
    """The configuration of a folder or a hub id, of which no weights are fetched; None where only they can tell.

    That is so for a model inside a larger one, and whenever a `prefix` is given. Raises what `read_config` raises, and
    CheckpointError for a configuration that makes no sense.
    """
    values = read_config(path_or_hub_id, **options)
    if prefix is not None:
        return None
    if values.get("model_type") not in (None, "", *KINDS) and not is_timm(values) and not is_wrapped(values):
        return None  # a larger model, whose part for an AIMv2 does not say so; or none at all
    with naming_file(path_or_hub_id):
        values = section(values) if is_wrapped(values) else values
        return config_from_dict(from_timm(values, by_name=True) if is_timm(values) else values)


def _channels(values: dict[str, Any]) -> int:
    vision = values.get("vision_config")
    channels = (vision if isinstance(vision, dict) else values).get("num_channels")
    return channels if type(channels) is int else 3
