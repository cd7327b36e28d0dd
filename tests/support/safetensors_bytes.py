"""Safetensors files put together by hand, so that tests can make them wrong in one place."""

import json
import math
from collections.abc import Mapping
from typing import Any

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}


def entry(dtype: str, shape: list[int], start: int) -> dict[str, Any]:
    """The description of a tensor whose bytes begin at `start`."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + math.prod(shape) * SIZES[dtype]]}


def file_bytes(header: Mapping[str, Any] | bytes, data: bytes, pad: int = 0) -> bytes:
    """A file of this header, padded with `pad` spaces, and this data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    return len(text).to_bytes(8, "little") + text + data
