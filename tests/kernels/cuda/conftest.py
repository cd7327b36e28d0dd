"""The device that kernels are tested on: the CPU, by the emulator, and with `-m gpu` an NVIDIA GPU."""

from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.support.cuda_emulator import emulator
from tests.support.kernel_instances import INSTANCES, kernels


@pytest.fixture(scope="module", params=["emulator", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """CuPy, or its stand-in with the emulator behind it."""
    if request.param == "gpu":
        yield real_cupy(required=request.config.getoption("--require-gpu"))
        return
    if reason := emulator.missing():
        pytest.skip(reason)
    from tests.support import fake_cupy

    with fake_cupy.installed() as module:
        yield module
    ours = {kernel for kernel in fake_cupy.launched if kernel.partition("<")[0] in INSTANCES}
    compiled = {kernel for name in INSTANCES for kernel in kernels(name)}
    assert ours <= compiled, "launched, but not among the instances that tests/gpu_sources compiles"


def real_cupy(*, required: bool) -> ModuleType:
    """CuPy with a GPU; otherwise the test is skipped, or fails where a GPU is required."""
    give_up = pytest.fail if required else pytest.skip
    try:
        import cupy
        import ml_dtypes  # noqa: F401  # before CuPy, which looks for bfloat16 once
    except ImportError as error:
        give_up(f"CuPy cannot be imported: {error}")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        give_up(f"there is no GPU: {error}")
    return cupy
