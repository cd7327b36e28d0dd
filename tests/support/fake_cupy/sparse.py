"""Blocks larger than the memory of the host, of which a test touches a few pages."""

import mmap

import numpy as np

from tests.support.fake_cupy.memory import ALIGNMENT, GUARD, Block

MAP_NORESERVE = 0x4000  # of Linux; Python has no name for it everywhere


def malloc(size: int) -> Block:
    """As `MemoryPool.malloc`, but full of zeros, counted by nobody, and taking memory only where it is written."""
    size = -(-size // ALIGNMENT) * ALIGNMENT
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    block = Block(size + 2 * GUARD, np.uint8, buffer=mmap.mmap(-1, size + 2 * GUARD, flags=flags))
    block.guard(GUARD, size)
    return block
