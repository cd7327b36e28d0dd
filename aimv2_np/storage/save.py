"""Writing the weights of a model into a folder as Transformers does: one file, or shards and an index.

Nothing is copied as a whole: each tensor goes to its file by itself. A save that is interrupted leaves the folder as it
was, to a reader: everything is written under temporary or new names first, and one rename or removal then turns the old
checkpoint into the new one.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from aimv2_np.files.atomic import make_folder, refuse_existing
from aimv2_np.files.json import write_json
from aimv2_np.storage.checkpoint import INDEX, SINGLE
from aimv2_np.storage.formats.lazy import Lazy
from aimv2_np.storage.formats.safetensors_writer import State, lazy, save_safetensors

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # decimal, as in Transformers
SHARD = re.compile(r"model(-v\d+)?-\d{5}-of-\d{5}\.safetensors")


def save_checkpoint(
    folder: str | os.PathLike[str], state: State, max_shard_size: int | str = "5GB", overwrite: bool = False
) -> None:
    """Write a model's arrays into `folder`, which is made where missing: `model.safetensors`, or shards and an index.

    A shard holds at most `max_shard_size` bytes (a number, or "500MB", "5GB"), or a single tensor that is larger. An
    older checkpoint in the folder is replaced with `overwrite`, and its files are removed once the new one is complete;
    without, FileExistsError is raised before anything is written. ValueError for a size that is none.
    """
    if not state:
        raise ValueError("state is empty; expected the arrays of a model")
    tensors = {name: lazy(name, array) for name, array in state.items()}
    shards = _split(tensors, _bytes(max_shard_size))
    folder = make_folder(folder)
    old = sorted(path for path in folder.iterdir() if path.name in (SINGLE, INDEX) or SHARD.fullmatch(path.name))
    for path in old:
        refuse_existing(path, overwrite)
    names = [SINGLE] if len(shards) == 1 else _free_names(folder, len(shards))
    for name, shard in zip(names, shards, strict=True):
        save_safetensors(folder / name, shard, overwrite=True)
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in sorted(shard)}
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map}, overwrite=True)
        names.append(INDEX)
    # A reader takes the single file where there is one, so what makes the new checkpoint the one that is read is: the
    # single file's appearance, the index's replacement, or, when shards replace a single file, the removal here.
    for path in old:
        if path.name not in names:
            path.unlink(missing_ok=True)


def _free_names(folder: Path, count: int) -> list[str]:
    """Transformers' names of shards; with a version in them where an older checkpoint has files of those names.

    Its index names those files until the new index is there, so they have to stay as they are until then.
    """
    version = 1
    while True:
        prefix = "model" if version == 1 else f"model-v{version}"
        names = [f"{prefix}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        if not any(os.path.lexists(folder / name) for name in names):
            return names
        version += 1


def _split(tensors: Mapping[str, Lazy], limit: int) -> Sequence[State]:
    """The arrays in order, a new shard begun whenever the next array would exceed the limit."""
    shards: list[dict[str, Lazy]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def _bytes(size: int | str) -> int:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?) ?([KMGT]B)", size.upper()) if isinstance(size, str) else None
    result = int(float(match[1]) * UNITS[match[2]]) if match else size
    if isinstance(result, bool) or not isinstance(result, int) or result < 1:
        raise ValueError(f"max_shard_size is {size!r}; expected a number of bytes, or a text like '500MB' or '5GB'")
    return result
