"""CuPy and the GPUs it sees: whether they can be used, or what is missing and the command that mends it.

Nothing here imports CuPy before somebody asks for the backend.
"""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from traceback import clear_frames
from types import ModuleType
from typing import Any

from aimv2_np.errors import plain

OLDEST = 14  # CuPy's first major version with bfloat16 and NumPy 2's promotion
DRIVERS = {"win32": "nvcuda.dll"}
WITHOUT = "or compute on the CPU with backend='numpy'"
# Called when a device is full: whoever keeps memory of it for later lets go of that.
reserves: set[Callable[[], object]] = set()
NO_DRIVER, NO_DEVICE, OUT_OF_MEMORY = "cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorMemoryAllocation"


def find_cupy(dtype: str | None = None) -> ModuleType:
    """CuPy, with at least one GPU that it can use.

    Raises:
        ImportError: CuPy is not installed, cannot be imported, or is too old; `dtype` needs ml_dtypes.
        RuntimeError: no driver, one that is too old for this CuPy, no GPU, or parts of CUDA that are missing.
    """
    cupy = _import_cupy()
    if dtype == "bfloat16":
        _import_bfloat16()
    _check_driver(cupy)
    _check_libraries(cupy)
    return cupy


def check_device(device: int | None) -> None:
    """ValueError unless there is a GPU of that number; None is the current one."""
    if device is None:
        return
    count = sys.modules["cupy"].cuda.runtime.getDeviceCount()
    if isinstance(device, bool) or not isinstance(device, int) or not 0 <= device < count:
        there = "only device 0" if count == 1 else f"devices 0 to {count - 1}"
        raise ValueError(f"device is {device!r:.40}; this machine has {there} (aimv2-np info --backends lists them)")


def driver_version() -> int | None:
    """The newest CUDA that the installed driver knows, as 12040 for 12.4; None without a driver."""
    try:
        library = ctypes.CDLL(DRIVERS.get(sys.platform, "libcuda.so.1"))
    except OSError:
        return None
    version = ctypes.c_int(0)
    return version.value if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else None


def cuda(version: int) -> str:
    """12.4 for 12040."""
    return f"{version // 1000}.{version % 1000 // 10}"


def extra() -> str:
    """Our extra with the CuPy for this machine's driver."""
    return "cuda13" if (driver_version() or 0) >= 13000 else "cuda12"


def _import_cupy() -> ModuleType:
    if "cupy" not in sys.modules and find_spec("cupy") is None:
        raise ImportError(
            f"the cupy backend needs CuPy, which is not installed: pip install 'aimv2-np[{extra()}]', {WITHOUT}"
        )
    if find_spec("ml_dtypes") is not None:
        import ml_dtypes  # noqa: F401  # before CuPy, which looks for bfloat16 when it is imported
    try:
        import cupy
    except Exception as error:  # a half-installed CuPy fails in many ways
        lines = [line.strip(" =") for line in str(error).splitlines()]
        reason = plain(next((line for line in lines if line), type(error).__name__), 200)
        raise ImportError(
            f"CuPy is installed but cannot be imported ({reason}): remove every package that `pip list` calls cupy…, "
            f"then pip install 'aimv2-np[{extra()}]', {WITHOUT}"
        ) from error
    if int(cupy.__version__.partition(".")[0]) < OLDEST:
        raise ImportError(
            f"CuPy {cupy.__version__} is installed; the cupy backend needs {OLDEST} or newer: "
            f"pip install --upgrade 'aimv2-np[{extra()}]'"
        )
    return cupy  # type: ignore[no-any-return]


def _import_bfloat16() -> None:
    if find_spec("ml_dtypes") is None:
        raise ImportError("bfloat16 needs ml_dtypes, which is not installed: pip install 'ml_dtypes>=0.5'")


def _check_driver(cupy: ModuleType) -> None:
    runtime = cupy.cuda.runtime
    if getattr(runtime, "is_hip", False):
        raise RuntimeError(f"this CuPy is built for AMD GPUs (ROCm); expected one for NVIDIA's, {WITHOUT}")
    try:
        runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise RuntimeError(_problem(runtime, str(error))) from error


def _problem(runtime: Any, error: str) -> str:
    """What is wrong with driver or GPU, as one sentence."""
    driver, built = driver_version(), runtime.runtimeGetVersion()
    if NO_DEVICE in error:
        if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            return f"CUDA_VISIBLE_DEVICES={visible!r:.40} hides every GPU: unset CUDA_VISIBLE_DEVICES, {WITHOUT}"
        return f"the NVIDIA driver finds no GPU: see what `nvidia-smi` says, {WITHOUT}"
    if driver is None:
        return (
            "no NVIDIA driver was found: install one (on Ubuntu `sudo ubuntu-drivers install`; for a container "
            f"`docker run --gpus all`), {WITHOUT}"
        )
    if NO_DRIVER in error:
        older = f"pip uninstall cupy-cuda13x, then pip install 'aimv2-np[cuda12]', {WITHOUT}"
        newer = f"update the driver, {WITHOUT}"
        return f"the NVIDIA driver knows CUDA up to {cuda(driver)}, and this CuPy is built for CUDA {cuda(built)}: " + (
            older if built >= 13000 > driver >= 12000 else newer
        )
    return f"the GPU cannot be used ({plain(error, 200)}): see what `nvidia-smi` says, {WITHOUT}"


@cache
def _check_libraries(cupy: ModuleType) -> None:
    """The two parts of CUDA that CuPy loads when they are first needed, and whose absence it tells in riddles."""
    for name, load in _LIBRARIES.items():
        try:
            load(cupy)
        except Exception as error:  # AssertionError, RuntimeError, ImportError: by version and by what is missing
            major = cupy.cuda.runtime.runtimeGetVersion() // 1000
            raise RuntimeError(
                f"CuPy cannot load CUDA's {name} library ({plain(' '.join(str(error).split()), 120)}): "
                f"pip install 'aimv2-np[cuda{major}]'"
            ) from error


# Neither touches a GPU, which would cost memory on one that is not asked for.
_LIBRARIES: dict[str, Callable[[ModuleType], object]] = {
    "nvrtc": lambda cupy: cupy.cuda.nvrtc.getVersion(),
    "cublas": lambda _: getattr(import_module("cupy_backends.cuda.libs"), "cublas"),  # noqa: B009
}


def current() -> int:
    """The number of the current device."""
    return int(sys.modules["cupy"].cuda.runtime.getDevice())


def using_device(device: int | None) -> AbstractContextManager[Any]:
    """Makes a device the current one inside the block; None changes nothing."""
    return nullcontext() if device is None else sys.modules["cupy"].cuda.Device(device)


@contextmanager
def on_device(device: int) -> Iterator[None]:
    """Compute on a device: it is the current one inside the block, and when its memory is full a MemoryError says so.

    What was allocated inside the block is free again by then.
    """
    cupy = sys.modules["cupy"]
    problem = None
    with using_device(None if device == current() else device):
        try:
            yield
        except (MemoryError, cupy.cuda.runtime.CUDARuntimeError) as error:
            if isinstance(error, MemoryError):  # also our own, from inside
                clear_frames(error.__traceback__)  # their variables hold the arrays of the layers that were running
            if not _is_ours(cupy, error):
                raise
            for give_back in reserves:
                give_back()
            cupy.get_default_memory_pool().free_all_blocks()
            problem = _full(cupy, device, error)
        if problem is not None:  # outside of the handler, so that the old error does not keep those frames
            raise MemoryError(problem) from None


def _is_ours(cupy: ModuleType, error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return isinstance(error, cupy.cuda.memory.OutOfMemoryError)
    return OUT_OF_MEMORY in str(error)


def _full(cupy: ModuleType, device: int, error: BaseException) -> str:
    found = re.search(r"allocating ([\d,]+) bytes", str(error))
    wanted = f"{gigabytes(int(found[1].replace(',', '')))} more were needed" if found else "a library needed more"
    free, total = free_memory(device)
    pool = cupy.get_default_memory_pool()
    limit = pool.get_limit()
    limited = f", of {gigabytes(limit)} that CuPy's pool may take" if limit else ""
    return (
        f"device {device} is out of memory: {wanted}, and {gigabytes(free)} of {gigabytes(total)} are free beside the "
        f"{gigabytes(pool.used_bytes())} that this process's arrays take{limited}; pass fewer or smaller pictures "
        "at a time, or use dtype='bfloat16' or 'float16'. The model can be used as before"
    )


def free_memory(device: int) -> tuple[int, int]:
    """Bytes that can still be allocated on a device, what CuPy's pool keeps in reserve included; and all it has."""
    cupy = sys.modules["cupy"]
    with cupy.cuda.Device(device):
        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        free += pool.free_bytes()
        if limit := pool.get_limit():
            free = min(free, max(0, limit - pool.used_bytes()))
        return int(free), int(total)


def check_room(needed: int, device: int | None) -> None:
    """MemoryError unless weights of so many bytes fit on a device; None is the current one."""
    number = current() if device is None else device
    free, total = free_memory(number)
    if needed > free:
        raise MemoryError(
            f"the weights take {gigabytes(needed)}, and device {number} has {gigabytes(free)} of {gigabytes(total)} "
            "free: use dtype='bfloat16' or 'float16', another device, or a smaller model"
        )


def gigabytes(number: int) -> str:
    """1.24 GB"""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"
