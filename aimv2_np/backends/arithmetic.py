"""How the processor and NumPy compute while a model runs, whatever the caller has set for his own numbers.

Denormals, the numbers below 1.2e-38 in float32 and 2.2e-308 in float64, count as zero. Beside what they are added to
they are nothing, but some processors take a hundred times as long for a product with them, and trained weights make
such numbers. The switch is part of each thread's floating-point environment (on x86-64 the register MXCSR), which C's
`fesetenv` loads. It is used on Linux on x86-64; elsewhere denormals are computed as they come.

NumPy says nothing about overflow and the like, and raises nothing: what overflows shows in a model's outputs, which are
checked.
"""

import ctypes
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

FLUSH = 0x8040  # of MXCSR: bit 15, results that would be denormal are zero; bit 6, denormal operands count as zero


class _Environment(ctypes.Structure):
    """`fenv_t` of glibc and musl on x86-64."""

    _fields_ = (("x87", ctypes.c_uint32 * 7), ("mxcsr", ctypes.c_uint32))


@cache
def _library() -> Any:
    """The C library's `fegetenv` and `fesetenv`; None where there is no such switch."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return None
    try:
        library = ctypes.PyDLL(None)  # which keeps Python's lock: the calls take a few nanoseconds
        return library if library.fegetenv and library.fesetenv else None
    except (OSError, AttributeError):
        return None


for _kind in (np.float16, np.float32, np.float64):
    np.finfo(_kind)  # NumPy looks for the smallest number once, and warns of finding zero


class _ThisThread(threading.local):
    """Of each thread: whether it is in a block of `own_arithmetic`."""

    inside = False


this_thread = _ThisThread()


@contextmanager
def own_arithmetic() -> Iterator[None]:
    """Compute as described above in the `with` block, in this thread; then as before."""
    if this_thread.inside:
        yield
        return
    this_thread.inside = True
    before = _flush()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        if before is not None:
            _library().fesetenv(ctypes.byref(before))
        this_thread.inside = False


def _flush() -> _Environment | None:
    """Count denormals as zero in this thread; returns what was set before, None where there is no switch."""
    library = _library()
    if library is None:
        return None
    before = _Environment()
    library.fegetenv(ctypes.byref(before))
    now = _Environment.from_buffer_copy(before)
    now.mxcsr |= FLUSH
    library.fesetenv(ctypes.byref(now))
    return before
