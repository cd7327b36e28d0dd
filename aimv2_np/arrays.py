"""Which library an array belongs to, moving arrays between libraries, and the dtypes each of them computes in."""

import sys
from types import ModuleType
from typing import Any

import numpy as np

from aimv2_np.shapes import Array

BACKENDS = {"numpy": ("float32", "float64", "float16"), "cupy": ("float32", "float64", "float16")}


def namespace(array: Array) -> ModuleType:
    """The library (`numpy` or `cupy`) whose functions take `array`."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def backend_of(array: Array) -> str:
    """`"numpy"` or `"cupy"`."""
    return namespace(array).__name__


def is_array(value: object) -> bool:
    """Whether `value` is an array of any backend; a picture, which offers itself as one, is not."""
    offers = hasattr(value, "__array_interface__") or hasattr(value, "__cuda_array_interface__")
    return offers and type(value).__module__.partition(".")[0] in BACKENDS


def widen(array: Array) -> Array:
    """float16 and bfloat16 as float32, others as they are: sums of half-precision numbers are taken in float32."""
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """The array in host memory; a NumPy array is returned as it is."""
    return array.get() if backend_of(array) == "cupy" else np.asarray(array)


def check_backend(backend: str, dtype: str | None = None) -> None:
    """Raise ValueError unless `backend` exists and computes in `dtype`; ImportError when it is not installed."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    if dtype is not None and dtype not in BACKENDS[backend]:
        advice = "; NumPy has no bfloat16, load it as float32, which is exact" if dtype == "bfloat16" else ""
        dtypes = ", ".join(BACKENDS[backend])
        raise ValueError(f"dtype is {dtype!r}; the {backend} backend computes in {dtypes}{advice}")
    if backend == "cupy":
        _cupy()


def move(array: Array, backend: str) -> Array:
    """`array` in the memory of `backend`, without a copy when it is already there."""
    if backend_of(array) == backend:
        return array
    return to_numpy(array) if backend == "numpy" else _cupy().asarray(array)


def _cupy() -> ModuleType:
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            "the cupy backend needs CuPy, which is not installed: pip install 'aimv2-np[cuda12]' (or [cuda13])"
        ) from error
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"the cupy backend found no usable NVIDIA GPU ({error}); use backend='numpy'") from error
    return cupy  # type: ignore[no-any-return]
