"""A tensor that is made when it is written: how a checkpoint larger than memory goes from one file to another."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from aimv2_np.storage.formats.dtypes import STORED, convert, to_bfloat16
from aimv2_np.storage.formats.header import BITS

NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Lazy:
    """What will be written: the format's dtype, the shape, and a function that returns the numbers as they are stored.

    bfloat16, which NumPy lacks, comes as its bits.
    """

    stored_as: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray[Any, Any]]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return prod(self.shape) * BITS[self.stored_as] // 8

    def raw(self) -> np.ndarray[Any, Any]:
        """The numbers in one row of bytes, in C order."""
        values = np.ascontiguousarray(self.make()).reshape(-1)
        kind = np.dtype(STORED.get(self.stored_as, values.dtype.newbyteorder("<")))
        return values.astype(kind, copy=False).view(np.uint8)


def recast(stored: np.ndarray[Any, Any], dtype: str, target: str, what: str) -> np.ndarray[Any, Any]:
    """Numbers stored as `dtype` ("BF16", ...) as `target` ("BF16", ...) would store them; the same ones untouched.

    Rounded to nearest, ties to even. Raises CheckpointError, beginning with `what`, for numbers that are not finite or
    that `target` cannot hold.
    """
    if dtype == target:
        return stored
    row = np.ascontiguousarray(stored).reshape(-1)
    if target == "BF16":
        return to_bfloat16(row, dtype, what).reshape(stored.shape)
    name = next(name for name, code in NAMES.items() if code == target)
    return convert(row, dtype, name, what).reshape(stored.shape)
