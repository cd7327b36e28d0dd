"""cuBLAS by ctypes: the products of a stream that is being captured.

While a stream is captured its work is not done but written down, to be launched later as one CUDA graph. cuBLAS can
be captured; CuPy's wrappers of it raise NotImplementedError instead (as of CuPy 14). So here the library that CuPy has
loaded is called directly, on CuPy's own handle, in three steps for each product:

1. `cublasSetStream_v2`: the handle works on the stream that is captured. That takes the handle's workspace away.
2. `cublasSetWorkspace_v2`: memory for partial sums. Not cuBLAS' own, which products of other streams use while the
   graph runs, but memory of the allocator that the recording uses.
3. the product.

All names and types are those of cublas_v2.h and cublas_api.h.
"""

import ctypes
import sys
from ctypes import c_int, c_longlong, c_size_t, c_void_p
from functools import cache
from types import ModuleType
from typing import Any

_SHAPE = (c_void_p, c_int, c_int, c_int, c_int, c_int, c_void_p)  # handle, transa, transb, m, n, k, alpha
_MATRIX = (c_void_p, c_int, c_int)  # address, cudaDataType_t, leading dimension
_STACK = (*_MATRIX, c_longlong)  # and elements from one matrix to the next
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cublasSetStream_v2": (c_void_p, c_void_p),
    "cublasSetWorkspace_v2": (c_void_p, c_void_p, c_size_t),
    "cublasGemmEx": (*_SHAPE, *_MATRIX, *_MATRIX, c_void_p, *_MATRIX, c_int, c_int),
    "cublasGemmStridedBatchedEx": (*_SHAPE, *_STACK, *_STACK, c_void_p, *_STACK, c_int, c_int, c_int),
}
# What NVIDIA recommends: 32 MiB for compute capability 9.0 and later, 4 MiB before.
WORKSPACE, LARGE_WORKSPACE = 4 << 20, 32 << 20


@cache
def library(wrappers: ModuleType) -> Any:
    """The cuBLAS that CuPy's module of wrappers is linked to, with the types of the functions that are used here.

    A symbol is looked up in a loaded library and in those that it is linked to: so this is CuPy's own cuBLAS, whatever
    its version and wherever it lies.

    Raises:
        RuntimeError: the functions cannot be reached.
    """
    if sys.platform == "win32":
        raise RuntimeError("Windows does not look symbols up in the libraries that CuPy's module is linked to")
    try:
        found = ctypes.CDLL(wrappers.__file__)
        for name, types in FUNCTIONS.items():
            function = getattr(found, name)
            function.argtypes, function.restype = types, c_int
    except (OSError, AttributeError) as error:
        reason = str(error).rpartition(": ")[2]  # before it stands the path of the module, which may be long
        raise RuntimeError(f"cuBLAS cannot be called through CuPy's {wrappers.__name__} ({reason})") from error
    return found


def call_captured(name: str, xp: ModuleType, wrappers: ModuleType, stream: int, handle: int, *args: Any) -> None:
    """Call a product of `FUNCTIONS` while `stream`, its address, is captured.

    The workspace goes back to the current allocator at once: what gets it next runs on the same stream, behind this.

    Raises:
        RuntimeError: the library cannot be reached, or cuBLAS refuses.
    """
    cublas = library(wrappers)
    workspace = xp.empty(_workspace_bytes(xp), "uint8")
    _check("cublasSetStream_v2", cublas.cublasSetStream_v2(handle, stream))
    try:
        _check("cublasSetWorkspace_v2", cublas.cublasSetWorkspace_v2(handle, workspace.data.ptr, workspace.nbytes))
        _check(name, getattr(cublas, name)(handle, *args))
    finally:
        cublas.cublasSetStream_v2(handle, None)  # so that the handle forgets this stream and this workspace


def _workspace_bytes(xp: Any) -> int:
    return LARGE_WORKSPACE if int(xp.cuda.Device().compute_capability) >= 90 else WORKSPACE


def _check(name: str, status: int) -> None:
    if status:
        raise RuntimeError(f"{name} failed with cuBLAS status {status}")
