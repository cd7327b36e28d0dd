"""A tensor that is made when it is written: how a checkpoint larger than memory goes from one file to another."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from aimv2_np.backends.dtypes import BITS, HELD
from aimv2_np.shapes import NDArray


@dataclass(frozen=True)
class Lazy:
    """What will be written: the format's dtype, the shape, and a function that returns the numbers as they are stored.

    bfloat16, which NumPy lacks, comes as its bits.
    """

    stored_as: str
    shape: tuple[int, ...]
    make: Callable[[], NDArray]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return prod(self.shape) * BITS[self.stored_as] // 8

    def raw(self) -> NDArray:
        """The numbers in one row of bytes, in C order."""
        return np.ascontiguousarray(self.make(), HELD[self.stored_as]).reshape(-1).view(np.uint8)
