"""The header of a safetensors file, checked against the file before anything else is read or mapped.

    file   = N (8 bytes, little-endian) | header (N bytes of JSON) | data
    header = {name: {"dtype": str, "shape": [int, ...], "data_offsets": [start, stop]}, ..., "__metadata__": {str: str}}

Offsets count from the first byte of data. The tensors lie one after the other: no gaps, no overlaps, nothing after the
last. (github.com/huggingface/safetensors, "Format")
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from aimv2_np.errors import CheckpointError
from aimv2_np.files.files import MAX_JSON_BYTES, parse_json

# Bits per element of every dtype of the format.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
METADATA = "__metadata__"
MAX_DIMENSIONS = 32  # NumPy holds 64
MAX_BYTES = 2**63 - 1


@dataclass(frozen=True)
class Entry:
    """One tensor: its dtype as the format names it, its shape, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(file: BinaryIO, size: int, where: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors and the metadata of an open safetensors file of `size` bytes; CheckpointError naming `where`."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError(
            f"{where} is truncated, or no safetensors file: it has {size} bytes, and its first eight ask for a header "
            f"of {length}; fetch it again"
        )
    if length > MAX_JSON_BYTES:
        raise CheckpointError(f"{where} has a header of {length} bytes; expected at most {MAX_JSON_BYTES}")
    header = parse_json(file.read(length), f"the header of {where}", unique=True)
    metadata = _check_metadata(header.pop(METADATA, None), where)
    data = 8 + length
    entries = {name: _entry(name, value, data, where) for name, value in header.items()}
    _check_coverage(entries, data, size, where)
    return entries, metadata


def _check_metadata(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise CheckpointError(f"{where}: {METADATA} in the header is {value!r:.80}; expected an object of strings")
    return value


def _entry(name: str, value: object, data: int, where: str) -> Entry:
    what = f"{where}: tensor {name!r:.200}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{what} is described by {value!r:.120}; expected dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise CheckpointError(f"{what} has the dtype {dtype!r:.40}; expected one of {', '.join(BITS)}")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"{what} has the shape {shape!r:.80}; expected up to {MAX_DIMENSIONS} sizes from 0 up")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{what} has the data_offsets {offsets!r:.80}; expected two numbers, [start, stop]")
    # Python's integers: a shape like [2**40, 2**40] must not wrap round to something that fits. NumPy multiplies the
    # sizes of an empty array too, all but the zeros.
    if math.prod(size for size in shape if size) * BITS[dtype] > 8 * MAX_BYTES:
        raise CheckpointError(f"{what} has the shape {shape!r:.80}, more than an array can hold")
    bits, given = math.prod(shape) * BITS[dtype], 8 * (offsets[1] - offsets[0])
    if bits != given:
        raise CheckpointError(
            f"{what} of dtype {dtype} and shape {tuple(shape)} takes {bits / 8:g} bytes; "
            f"its data_offsets give {given // 8}"
        )
    return Entry(dtype, tuple(shape), data + offsets[0], data + offsets[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= MAX_BYTES for item in value)


def _check_coverage(entries: Mapping[str, Entry], data: int, size: int, where: str) -> None:
    end = data
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            problem = "overlaps the tensor before it" if entry.start < end else "leaves a gap before it"
            raise CheckpointError(
                f"{where}: tensor {name!r:.200} {problem} (bytes {end}, {entry.start}); fetch it again"
            )
        end = entry.stop
    if end > size:
        raise CheckpointError(f"{where} is truncated: it has {size} bytes, its tensors need {end}; fetch it again")
    if end < size:
        raise CheckpointError(f"{where} has {size} bytes, its tensors end at {end}; expected nothing after them")
