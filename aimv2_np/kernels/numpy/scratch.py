"""Work arrays that are used again, within a call and by the next one, once nobody holds them any more.

Memory fresh from the system costs a page fault every 4 KiB: for the arrays of an MLP nearly as much time as what is
computed in them. Python counts the references to a block, and a view holds one, so a block that only its scratch
refers to is free.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from sys import getrefcount
from typing import Any

import numpy as np

from aimv2_np.shapes import NDArray

KEPT_BYTES = 64 << 20  # at most, of all scratches together, from one call to the next


class Scratch:
    """Blocks of bytes for the arrays of one thread's slice of the work."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray:
        """An array of unknown contents, in C order, in the smallest free block that holds it, or in a new one."""
        size = prod(shape) * dtype.itemsize
        free = [i for i in range(len(self.blocks)) if getrefcount(self.blocks[i]) == _UNUSED and self._fits(i, size)]
        if free:
            block = self.blocks[min(free, key=lambda i: len(self.blocks[i]))]
        else:
            block = np.empty(size, np.uint8)
            self.blocks.append(block)
        return block[:size].view(dtype).reshape(shape)

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(map(len, self.blocks))

    def _fits(self, i: int, size: int) -> bool:
        return size <= len(self.blocks[i]) <= 4 * size  # a small array must not keep a large block from a large one


_one = [np.empty(0)]
_UNUSED = getrefcount(_one[0])  # what it says of an array that a list alone holds

_current: ContextVar[Scratch | None] = ContextVar("scratch", default=None)
_kept: list[Scratch] = []  # of calls that have ended; append and pop are atomic


@contextmanager
def scratch() -> Iterator[None]:
    """Take the work arrays that this thread needs in the block from one scratch; what leaves the block is copied."""
    try:
        own = _kept.pop()
    except IndexError:
        own = Scratch()
    token = _current.set(own)
    try:
        yield
    finally:
        _current.reset(token)
        _keep(own)


def _keep(own: Scratch) -> None:
    _kept.append(own)
    while sum(one.size for one in list(_kept)) > KEPT_BYTES:
        try:
            _kept.pop(0)
        except IndexError:  # another thread was quicker
            return


def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray:
    """An array of unknown contents, in C order: of this thread's scratch, or a new one."""
    current = _current.get()
    return np.empty(shape, dtype) if current is None else current.empty(shape, dtype)


def empty_like(x: NDArray, shape: Sequence[int] | None = None) -> NDArray:
    """An array of `shape`, or that of `x`, whose axes follow each other in memory as those of `x` do."""
    shape = x.shape if shape is None else shape
    axes = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return empty([shape[axis] for axis in axes], x.dtype).transpose(np.argsort(axes))
