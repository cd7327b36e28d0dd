"""Which library an array belongs to, moving arrays between libraries, and the dtypes each of them computes in."""

import sys
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.dtypes import BACKENDS, COMPUTED
from aimv2_np.backends.narrow import Narrow, Wrapped, round_bits, widen_bits
from aimv2_np.shapes import Array

HALF_BYTES = 2  # of float16 and of bfloat16, the floats whose sums are taken in float32


def namespace(array: Array) -> ModuleType:
    """The library (`numpy` or `cupy`) whose functions take `array`; of a wrapped one what stands for it."""
    return array.library if isinstance(array, Wrapped) else sys.modules[type(array).__module__.partition(".")[0]]


def backend_of(array: Array) -> str:
    """`"numpy"` or `"cupy"`."""
    return namespace(array).__name__


def device_of(array: Array) -> int | None:
    """The number of the GPU that holds `array`; None for an array in host memory."""
    return int(array.device.id) if backend_of(array) == "cupy" else None


def is_array(value: object) -> bool:
    """Whether `value` is an array of any backend; a picture, which offers itself as one, is not."""
    kind = type(value)
    offers = hasattr(kind, "__array_interface__") or hasattr(kind, "__cuda_array_interface__")
    return isinstance(value, Wrapped) or (offers and kind.__module__.partition(".")[0] in BACKENDS)


def computes_in(array: Array) -> str:
    """The name of the dtype that a model computes in, one of whose arrays this is."""
    return array.computes if isinstance(array, Narrow) else str(array.dtype)


def is_float(array: Array) -> bool:
    """Whether its numbers are floats; NumPy does not know that bfloat16's are."""
    return bool(array.dtype.kind == "f" or array.dtype.name == "bfloat16")


def widen(array: Array) -> Array:
    """float16, bfloat16 and what is kept narrow as float32, anything else as it is: sums are taken in float32."""
    if isinstance(array, Narrow):
        return array.widened()
    return array.astype(np.float32) if array.dtype.itemsize == HALF_BYTES and is_float(array) else array


def factor_of(x: Array, weight: Any) -> Array:
    """`x` as it is multiplied with a weight: widened, or rounded to bfloat16 where the weight says so."""
    if isinstance(weight, Narrow) and weight.rounds and x.dtype == np.float32:
        return widen_bits(round_bits(np.ascontiguousarray(x)))
    return widen(x)


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """The array in host memory, bfloat16, which NumPy lacks, as float32; a NumPy array is returned as it is."""
    values = to_host(array)
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """The array in host memory, bit for bit; bfloat16 in ml_dtypes' dtype."""
    return np.asarray(array if backend_of(array) == "numpy" else array.get())


def dtype_of(name: str) -> np.dtype[Any]:
    """NumPy's dtype of that name; `"bfloat16"` is ml_dtypes'."""
    if name == "bfloat16":
        import ml_dtypes  # noqa: F401  # NumPy knows the name from then on
    return np.dtype(name)


# What devices are called elsewhere, and dtypes where a backend is expected → the end of the message.
ELSEWHERE = {
    "cuda": "; a GPU is 'cupy', and its number device=",
    "gpu": "; a GPU is 'cupy', and its number device=",
    "cpu": "; the CPU is 'numpy'",
    "float": "; a dtype is passed by name, dtype=",
    "<class 'numpy.": "; a dtype is passed by name, dtype=",
    "torch.": "; a dtype is passed by name, dtype=",
}


def check_backend(backend: str, dtype: str | None = None, device: int | None = None) -> None:
    """Raise unless `backend` exists, computes in `dtype`, and has `device`.

    ValueError for what does not exist; ImportError and RuntimeError, with the command that mends it, when CuPy or what
    it needs is missing.
    """
    if backend not in BACKENDS:
        advice = next((told for start, told in ELSEWHERE.items() if str(backend).startswith(start)), "")
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}{advice}")
    if dtype is not None and dtype not in COMPUTED:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(COMPUTED)}")
    if backend == "cupy":
        devices.find_cupy(dtype)
        devices.check_device(device)
    elif device is not None:
        raise ValueError(
            f"device is {device!r:.40}, the number of a GPU, but the backend is {backend}; drop it, "
            "or pass backend='cupy' too"
        )


def move(array: Array, backend: str, device: int | None = None) -> Array:
    """`array` in the memory of `backend`, without a copy when it is already there.

    Args:
        array: of any backend.
        backend: `"numpy"` or `"cupy"`.
        device: for CuPy the number of a GPU; None: where the array is, or the current device.
    """
    if backend == "numpy":
        return array if isinstance(array, Wrapped) else to_numpy(array)
    if backend_of(array) == backend and device in (None, array.device.id):
        return array
    if backend_of(array) == backend:
        return _from_another_device(array, device)
    with devices.using_device(device):
        return upload(np.asarray(array))


def _from_another_device(array: Array, device: int | None) -> Array:
    cupy: Any = sys.modules["cupy"]
    with array.device:
        array = cupy.ascontiguousarray(array).reshape(array.shape)
        written = cupy.cuda.get_current_stream().record()
    with devices.using_device(device):
        cupy.cuda.get_current_stream().wait_event(written)
        return array.copy()  # to the current device


def upload(array: np.ndarray[Any, Any]) -> Array:
    """A NumPy array on the current device, copied from where it lies, with no second copy in host memory."""
    cupy: Any = sys.modules["cupy"]
    result = cupy.empty(array.shape, array.dtype)
    result.set(np.ascontiguousarray(array).reshape(array.shape))
    return result


def settle(backend: str) -> None:
    """Wait for the current stream of the current device: what it has been told to write may be read on any stream.

    Copies to a GPU, and conversions there, go on after the call that began them has returned.
    """
    if backend == "cupy":
        sys.modules["cupy"].cuda.get_current_stream().synchronize()


def beside(array: Array) -> AbstractContextManager[Any]:
    """Compute where `array` is: inside the block its device is the current one, and a full one is told clearly."""
    device = device_of(array)
    return nullcontext() if device is None else devices.on_device(device)
