"""Memory that is used again: a step of training makes the same large arrays as the one before.

The C library gives large arrays back to the system as soon as nobody has them, and asks for them anew: every page is
then cleared and mapped again, a seventh of a step. Kept, they lie ready.
"""

import ctypes
from functools import cache

# Parameters of glibc's mallopt (malloc.h), and the largest number that it takes.
TRIM_THRESHOLD, MMAP_THRESHOLD, MOST = -1, -3, 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """From now on, this process keeps memory that it has freed, for its own next arrays.

    What it takes at most does not grow by that. Returns whether the C library can do so, as glibc can.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl; Windows has no library without a name
        return False
    return bool(mallopt(TRIM_THRESHOLD, MOST)) and bool(mallopt(MMAP_THRESHOLD, MOST))
