"""Writing safetensors files: tensor by tensor, atomically, as Transformers lays them out.

Nothing is copied as a whole: each tensor goes to the file by itself. A save that is interrupted leaves the folder as it
was, to a reader: everything is written under temporary or new names first, and one rename or removal then turns the old
checkpoint into the new one.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import to_host
from aimv2_np.files.files import atomic_write, make_folder, refuse_existing, write_json
from aimv2_np.shapes import Array
from aimv2_np.storage.checkpoint import INDEX, SINGLE
from aimv2_np.storage.formats.header import BITS, MAX_DIMENSIONS, METADATA
from aimv2_np.storage.formats.lazy import Lazy

DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
# What Transformers looks for in the metadata before it reads a file.
METADATA_PT = {"format": "pt"}
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # decimal, as in Transformers
SHARD = re.compile(r"model(-v\d+)?-\d{5}-of-\d{5}\.safetensors")


def save_safetensors(
    path: str | os.PathLike[str],
    state: Mapping[str, Array | Lazy],
    metadata: Mapping[str, str] = METADATA_PT,
    overwrite: bool = False,
) -> None:
    """Write arrays of any shapes, of floats, integers or bools, to one safetensors file; lazy ones are made one by one.

    Raises FileExistsError for an existing file unless `overwrite`, ValueError for what the format cannot hold.
    """
    # Widest numbers first, as the safetensors library does: then every tensor is aligned if the first one is.
    names = sorted(state, key=lambda name: (-BITS[_dtype(name, state[name])], name))
    header: dict[str, Any] = {METADATA: _checked_metadata(metadata)} if metadata else {}
    end = 0
    for name in names:
        array = state[name]
        start, end = end, end + _nbytes(array)
        header[name] = {"dtype": _dtype(name, array), "shape": list(array.shape), "data_offsets": [start, end]}
    text = encode_header(header)
    with atomic_write(path, overwrite) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            write_array(file, state[name])


def save_checkpoint(
    folder: str | os.PathLike[str],
    state: Mapping[str, Array | Lazy],
    max_shard_size: int | str = "5GB",
    overwrite: bool = False,
) -> None:
    """Write a model's arrays into `folder`, which is made where missing: `model.safetensors`, or shards and an index.

    A shard holds at most `max_shard_size` bytes (a number, or "500MB", "5GB"), or a single tensor that is larger. An
    older checkpoint in the folder is replaced with `overwrite`, and its files are removed once the new one is complete;
    without, FileExistsError is raised before anything is written. ValueError for a size that is none.
    """
    if not state:
        raise ValueError("state is empty; expected the arrays of a model")
    shards = _split(state, _bytes(max_shard_size))
    folder = make_folder(folder)
    old = sorted(path for path in folder.iterdir() if path.name in (SINGLE, INDEX) or SHARD.fullmatch(path.name))
    for path in old:
        refuse_existing(path, overwrite)
    new = _write_single(folder, shards[0]) if len(shards) == 1 else _write_shards(folder, shards)
    # A reader takes the single file where there is one, so what makes the new checkpoint the one that is read is: the
    # single file's appearance, the index's replacement, or, when shards replace a single file, the removal here.
    for path in old:
        if path.name not in new:
            path.unlink(missing_ok=True)


def _write_single(folder: Path, state: Mapping[str, Array | Lazy]) -> set[str]:
    save_safetensors(folder / SINGLE, state, overwrite=True)
    return {SINGLE}


def _write_shards(folder: Path, shards: list[dict[str, Array | Lazy]]) -> set[str]:
    names = _free_names(folder, len(shards))
    for name, shard in zip(names, shards, strict=True):
        save_safetensors(folder / name, shard)
    total = sum(_nbytes(array) for shard in shards for array in shard.values())
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in sorted(shard)}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map}, overwrite=True)
    return {*names, INDEX}


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


def _split(state: Mapping[str, Array | Lazy], limit: int) -> list[dict[str, Array | Lazy]]:
    """The arrays in order, a new shard begun whenever the next array would exceed the limit."""
    shards: list[dict[str, Array | Lazy]] = [{}]
    size = 0
    for name, array in state.items():
        if shards[-1] and size + _nbytes(array) > limit:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += _nbytes(array)
    return shards


def _bytes(size: int | str) -> int:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?) ?([KMGT]B)", size.upper()) if isinstance(size, str) else None
    result = int(float(match[1]) * UNITS[match[2]]) if match else size
    if isinstance(result, bool) or not isinstance(result, int) or result < 1:
        raise ValueError(f"max_shard_size is {size!r}; expected a number of bytes, or a text like '500MB' or '5GB'")
    return result


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if not all(isinstance(item, str) for pair in metadata.items() for item in pair):
        raise ValueError(f"metadata is {metadata!r:.200}; expected strings only, which is all that the format holds")
    return dict(metadata)


def _dtype(name: str, array: Array | Lazy) -> str:
    if not isinstance(name, str) or not name or name == METADATA:
        raise ValueError(f"{name!r} cannot be the name of a tensor; expected a text, and not {METADATA}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} cannot be the name of a tensor: it has no form in UTF-8") from None
    if not isinstance(array, Lazy) and array.dtype.name not in DTYPES:
        raise ValueError(f"{name} has the dtype {array.dtype}; expected one of {', '.join(DTYPES)}")
    if len(array.shape) > MAX_DIMENSIONS:
        raise ValueError(f"{name} has {len(array.shape)} dimensions; expected at most {MAX_DIMENSIONS}")
    return array.stored_as if isinstance(array, Lazy) else DTYPES[array.dtype.name]


def _nbytes(array: Array | Lazy) -> int:
    if isinstance(array, Lazy):
        return array.nbytes
    return int(np.prod(array.shape, dtype=np.int64)) * int(array.dtype.itemsize)


def encode_header(header: Mapping[str, Any]) -> bytes:
    """The header as JSON, filled up with spaces so that the data after it begins at a multiple of 8 bytes."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def write_array(file: Any, array: Array | Lazy) -> None:
    """Write the elements of `array`, row-major and little-endian, and nothing else."""
    if isinstance(array, Lazy):
        file.write(array.raw().data)
        return
    values = np.ascontiguousarray(to_host(array)).reshape(-1)
    values = values.view(np.uint16) if values.dtype.name == "bfloat16" else values
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    if values.size:  # an empty array has no buffer to cast
        file.write(values.view(np.uint8).data)
