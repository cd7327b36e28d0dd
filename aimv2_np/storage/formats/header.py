"""The header of a safetensors file, read and checked before anything else of the file is read or mapped, and written.

    file   = N (8 bytes, little-endian) | header (N bytes of JSON) | data
    header = {name: {"dtype": str, "shape": [int, ...], "data_offsets": [start, stop]}, ..., "__metadata__": {str: str}}

Offsets count from the first byte of data. The tensors lie one after the other: no gaps, no overlaps, nothing after the
last. (github.com/huggingface/safetensors, "Format")
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from aimv2_np.backends.dtypes import BITS
from aimv2_np.errors import CheckpointError, plain, told_by_rust
from aimv2_np.files.json import MAX_JSON_BYTES, parse_json

METADATA = "__metadata__"
MAX_DIMENSIONS = 32  # NumPy holds 64
MAX_BYTES = 2**63 - 1
_KEYS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its dtype as the format names it, its shape, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(file: BinaryIO, path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """The tensors and the metadata of the safetensors file that is open; `path` is where it lies.

    The size of the header is checked here before it is read, and what the safetensors library lets pass is refused:
    double keys, unknown ones, and shapes that NumPy cannot have. Everything else, each dtype, shape and offset against
    the others and against the size of the file, is the library's to check. Raises CheckpointError naming the file.
    """
    size, length = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError(
            f"{path} is truncated, or no safetensors file: it has {size} bytes, and its first eight ask for a header "
            f"of {length}; fetch it again"
        )
    if length > MAX_JSON_BYTES:
        raise CheckpointError(f"{path} has a header of {length} bytes; expected at most {MAX_JSON_BYTES}")
    header = parse_json(file.read(length), f"the header of {path}", unique=True)
    from safetensors import SafetensorError, safe_open  # here, so that importing the package is light

    try:
        with safe_open(path, framework="numpy"):
            pass
    except FileNotFoundError:
        path.open("rb").close()  # the library calls whatever keeps it from opening the file so; this says what it is
        raise
    except SafetensorError as error:
        if (told := told_by_rust(error)) is not None:
            raise told from None
        raise CheckpointError(
            f"{path} is truncated or damaged: its header does not fit its {size} bytes ({plain(error, 200)}); "
            "fetch it again"
        ) from None
    if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        raise CheckpointError(f"{path} was replaced while it was being opened; open it again")
    metadata = header.pop(METADATA, None) or {}
    return {name: _entry(name, value, 8 + length, path) for name, value in header.items()}, metadata


def _entry(name: str, value: Mapping[str, Any], data: int, path: Path) -> TensorEntry:
    what = f"{path}: tensor {name!r:.200}"
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise CheckpointError(f"{what} is described by {value!r:.120}; expected dtype, shape and data_offsets")
    dtype, shape, (start, stop) = value["dtype"], value["shape"], value["data_offsets"]
    # NumPy multiplies the sizes of an empty array too, all but the zeros.
    if len(shape) > MAX_DIMENSIONS or math.prod(size for size in shape if size) * BITS[dtype] > 8 * MAX_BYTES:
        raise CheckpointError(
            f"{what} has the shape {shape!r:.80}; expected at most {MAX_DIMENSIONS} sizes, of a product that an array "
            "can have"
        )
    return TensorEntry(dtype, tuple(shape), data + start, data + stop)


def write_header(
    file: BinaryIO, tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]
) -> list[str]:
    """Write all of a safetensors file that comes before its data.

    Args:
        file: open for writing, at its beginning.
        tensors: name → the format's code of the dtype, and the shape.
        metadata: texts about the file.

    Returns:
        The names in the order in which the bytes of the tensors have to follow: the widest numbers first, as the
        safetensors library has them, else as they were given. Then every tensor is aligned, as the data begins at a
        multiple of 8 bytes.
    """
    names = sorted(tensors, key=lambda name: -BITS[tensors[name][0]])
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        code, shape = tensors[name]
        start, end = end, end + math.prod(shape) * BITS[code] // 8
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return names
