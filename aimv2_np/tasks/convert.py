"""A checkpoint from one layout into another: weights, configuration, and the processor's files beside them."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from aimv2_np.config import CONFIG_FILE, config_from_dict, int8
from aimv2_np.config.base import naming_file
from aimv2_np.files.atomic import atomic_write, refuse_existing
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.locate import IMAGE_PROCESSOR_FILES, TOKENIZER_FILES, check_link
from aimv2_np.models.auto import MODELS
from aimv2_np.models.pretrained import without_final_norm
from aimv2_np.network.linear import Linear
from aimv2_np.storage import fetch, match, open_source
from aimv2_np.storage.relayout import DIALECTS, SAME, arranged, check_choice, common_dtype, write_layout

COMPANIONS = (*IMAGE_PROCESSOR_FILES, *TOKENIZER_FILES)


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        source, folder: where it read and where it wrote.
        before, after: the names of the layouts.
        dtype: of the numbers that were written; with "same", of most of them.
        tensors, nbytes: how many were written, in the new layout.
    """

    source: Path
    folder: Path
    before: str
    after: str
    dtype: str
    tensors: int
    nbytes: int


def convert(
    path_or_hub_id: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    layout: str = "transformers",
    *,
    dtype: str = SAME,
    overwrite: bool = False,
    prefix: str | None = None,
    final_norm: bool = True,
    **hub: Unpack[HubOptions],
) -> Conversion:
    """Write the checkpoint in a folder, or of a hub id, into another folder in another layout.

    One tensor at a time is in memory, two where q, k and v are stacked or a dtype is converted.

    Args:
        path_or_hub_id: a checkpoint in any layout.
        folder: where to write; made where missing, and another one than is read from.
        layout: "transformers", "apple", "mlx", "flax" or "timm".
        dtype: "float32", "float16", "bfloat16"; "int8" for the matrices of linear maps, each row with a factor beside
            it, where all else keeps its bytes; or "same": every tensor does.
        overwrite: replace a checkpoint that is in `folder`.
        prefix: chooses where the checkpoint holds several AIMv2, as for `load`. What is beside the model is left out.
        final_norm: False to leave out the vision tower's last norm too.
        hub: revision, cache_dir, token and local_files_only, as in huggingface_hub.

    Raises:
        FileExistsError: there is a checkpoint in `folder` and `overwrite` is False.
        CheckpointError: what is read is damaged, incomplete or no AIMv2, or has numbers that `dtype` cannot hold.
        ValueError: no such layout or dtype, or the layout has no place for such a model.
    """
    target = check_choice(layout, dtype)
    source = open_source(fetch(path_or_hub_id, extra=COMPANIONS, **hub), prefix)
    folder = Path(folder)
    if folder.exists() and folder.samefile(source.folder):
        raise ValueError(f"{folder} is the checkpoint that is converted; choose another folder to write to")
    with naming_file(source.folder):
        config = config_from_dict(source.values)
        config = config if final_norm else without_final_norm(config)
        skeleton = MODELS[type(config)].skeleton(config)
    names = match({name: tuple(p.shape) for name, p in skeleton.state_dict().items()}, source.tensors)
    label = common_dtype(source.tensors, names, dtype)
    values = DIALECTS[layout](config, label, type(skeleton).__name__)
    matrices = {f"{path}.weight" for path, module in skeleton.named_modules() if isinstance(module, Linear)}
    state = arranged(source.tensors, names, target, dtype, matrices)
    if any(tensor.stored_as == "I8" for tensor in state.values()):
        values[int8.KEY], label = int8.INT8, "int8"
    companions = [source.folder / name for name in COMPANIONS if (source.folder / name).is_file()]
    for path in companions:
        check_link(path, source.folder)
        refuse_existing(folder / path.name, overwrite)
    refuse_existing(folder / CONFIG_FILE, overwrite)
    write_layout(folder, state, target, values, overwrite)
    for path in companions:
        with path.open("rb") as original, atomic_write(folder / path.name, overwrite) as copy:
            shutil.copyfileobj(original, copy)
    nbytes = sum(tensor.nbytes for tensor in state.values())
    return Conversion(source.folder, folder, source.layout.name, layout, label, len(state), nbytes)
