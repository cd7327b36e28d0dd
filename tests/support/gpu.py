"""CuPy for tests: the real one where there is a GPU, and its stand-in everywhere."""

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from types import ModuleType

import pytest

from aimv2_np.backends import devices


@cache
def why_no_gpu() -> str | None:
    """None where CuPy has a GPU, else the reason why not."""
    try:
        devices.find_cupy()
    except (ImportError, RuntimeError) as error:
        return str(error)
    return None


def emulated_cupy(count: int = 1) -> AbstractContextManager[ModuleType]:
    """The stand-in, with so many devices."""
    from tests.support import fake_cupy
    from tests.support.cuda_emulator import emulator

    if reason := emulator.missing():
        pytest.skip(reason)

    return fake_cupy.installed(count)


@contextmanager
def real_cupy() -> Iterator[ModuleType]:
    """CuPy itself."""
    yield devices.find_cupy()


def release(cupy: ModuleType) -> int:
    """Bytes that arrays still take when everything that can be let go of has been."""
    from aimv2_np.kernels.cuda.graphs import GRAPHS

    GRAPHS.clear()
    gc.collect()
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    return int(pool.used_bytes())
