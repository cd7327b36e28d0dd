"""Memory of a device that is the host's: blocks between guards, counted, and full of NaN until they are written."""

import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from math import prod
from threading import local
from typing import Any

import numpy as np

from tests.support.fake_cupy import devices

ALIGNMENT = 512  # CuPy's; sizes are multiples of it, too
GUARD = 16 << 10  # bytes before and behind, so that some rows too many are noticed and do no harm
PATTERN = 0xFF  # NaN in every floating type


class OutOfMemoryError(MemoryError):
    """As CuPy's."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        text = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(text + (f", limit set to: {limit:,} bytes)" if limit else ")."))


class Memory:
    """`cupy.cuda.Memory`: bytes of the device itself, of which `limit` can be had."""

    limit = 80 << 30

    def __init__(self, size: int) -> None:
        if size > Memory.limit:
            raise devices.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        self.size = size


class MemoryPointer:
    """`cupy.cuda.MemoryPointer`."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.offset = mem, offset


lost: list[int] = []  # bytes, of every pool that has gone


class MemoryPool:
    """Counts what is in use. Free blocks go back to the host at once, but count as held until `free_all_blocks`.

    As in CuPy 14, what a pool still holds when it goes itself is lost to everybody: `lost` says how much that was.
    """

    def __init__(self, allocator: Any = None) -> None:
        self.used = self.held = self.limit = self.peak = 0
        self.allocator = allocator

    def __del__(self, lost: list[int] = lost) -> None:
        lost.append(self.held - self.used)

    def malloc(self, size: int) -> "Block":
        """A block of at least `size` bytes, rounded up to 512 as CuPy does."""
        size = -(-size // ALIGNMENT) * ALIGNMENT
        if self.limit and self.used + size > self.limit:
            raise OutOfMemoryError(size, self.used, self.limit)
        if self.allocator is not None and self.used + size > self.held:
            self._allocate(size)
        block = _filled(size + 2 * GUARD + ALIGNMENT)
        block.guard(GUARD + -(block.ctypes.data + GUARD) % ALIGNMENT, size)
        block.pool = self
        live[block.ctypes.data] = block
        self.used += size
        self.held, self.peak = max(self.held, self.used), max(self.peak, self.used)
        weakref.finalize(block, self._free, size)
        return block

    def _allocate(self, size: int) -> None:
        try:
            self.allocator(size)
        except devices.CUDARuntimeError:  # as CuPy does, which helps nobody in the middle of a recording
            self.free_all_blocks()
            try:
                self.allocator(size)
            except devices.CUDARuntimeError:
                raise OutOfMemoryError(size, self.held) from None

    def _free(self, size: int) -> None:
        self.used -= size

    def used_bytes(self) -> int:
        return self.used

    def total_bytes(self) -> int:
        return self.held

    def free_bytes(self) -> int:
        return self.held - self.used

    def free_all_blocks(self, stream: Any = None) -> None:
        if devices.capturing() and getattr(allocator(), "__self__", None) is self:
            raise AssertionError("a pool frees blocks that the graph which is being captured works in")
        self.held = self.used

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self.limit = size or 0

    def get_limit(self) -> int:
        return self.limit


class Block(np.ndarray):
    """The bytes of an allocation with its guards."""

    start = 0
    size_in_use = 0
    pool: Any = None
    written: dict[Any, int]  # by which stream, and when: see `order`
    read: dict[Any, int]
    mark = 0

    def guard(self, start: int, size: int) -> None:
        """Use the `size` bytes at `start`, which nobody has written or read yet; mark what lies before and behind."""
        self.start, self.size_in_use, self.mark = start, size, next(_marks)
        self.written, self.read = {}, {}
        for guard in self._guards():
            guard[...] = self.mark

    def intact(self) -> bool:
        """Whether nobody wrote before or behind."""
        return all(bool((guard == self.mark).all()) for guard in self._guards())

    def _guards(self) -> list[np.ndarray]:
        plain = self.view(np.ndarray)
        return [it.view(np.uint16) for it in (plain[: self.start], plain[self.start + self.size_in_use :])]


# Workspaces of cuBLAS, of which there is one for each captured product, are 32 MiB and hardly touched.
LARGE, LARGEST = 1 << 20, 40 << 20


@cache
def _pages() -> int:
    """A file that holds LARGEST bytes of PATTERN, in memory."""
    file = os.memfd_create("pattern")
    os.write(file, bytes([PATTERN]) * LARGEST)
    return file


def _filled(size: int) -> Block:
    """A block full of PATTERN; the pages of a large one are the file's until they are written."""
    if LARGE <= size <= LARGEST and hasattr(os, "memfd_create"):
        return Block(size, np.uint8, mmap.mmap(_pages(), size, mmap.MAP_PRIVATE))
    block = Block(size, np.uint8)  # owns its memory: views of it lead back here, as those of a map do
    block.view(np.ndarray)[...] = PATTERN
    return block


# NaN in every floating type, too, but another one around each array: what was read outside of one is noticed when it is
# written outside of another.
_marks = cycle(range(0xFFF1, 0xFFFF))


live: "weakref.WeakValueDictionary[int, Block]" = weakref.WeakValueDictionary()
default_pool = MemoryPool()
_thread = local()


def allocator() -> Any:
    return getattr(_thread, "allocator", None) or default_pool.malloc


@contextmanager
def using_allocator(malloc: Any = None) -> Iterator[None]:
    """Of this thread, as CuPy's."""
    before = getattr(_thread, "allocator", None)
    _thread.allocator = malloc
    try:
        yield
    finally:
        _thread.allocator = before


def allocate(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array full of NaN in a new block."""
    dtype = np.dtype(dtype)
    block = allocator()(prod(shape) * dtype.itemsize)
    if devices.capturing():  # a captured product knows its address only; on a device the pool would keep it
        devices.record(lambda: block)
    return np.ndarray(shape, dtype, buffer=block, offset=block.start)


def block_of(array: np.ndarray) -> Block | None:
    """The allocation that an array lies in."""
    node: Any = array
    while node is not None and not isinstance(node, Block):
        node = node.obj if isinstance(node, memoryview) else getattr(node, "base", None)
    return node


def block_at(address: int) -> Block:
    """The allocation that holds an address."""
    for reference in live.valuerefs():  # a copy: other threads allocate meanwhile
        if (block := reference()) is None:
            continue
        start = block.ctypes.data + block.start
        if start <= address < start + max(1, block.size_in_use):
            return block
    raise ValueError(f"{address:#x} is in no array of the device")
