"""The `cupy` of tests/conftest.py, and what it launched is what tests/gpu_sources compiles."""

from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.support import fake_cupy
from tests.support.kernel_instances import INSTANCES, kernels


@pytest.fixture(scope="module")
def cupy(cupy: ModuleType) -> Iterator[ModuleType]:
    """CuPy, or its stand-in with the emulator behind it."""
    yield cupy
    ours = {kernel for kernel in fake_cupy.launched if kernel.partition("<")[0] in INSTANCES}
    compiled = {kernel for name in INSTANCES for kernel in kernels(name)}
    assert ours <= compiled, "launched, but not among the instances that tests/gpu_sources compiles"
