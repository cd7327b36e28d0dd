"""Matrix products by cuBLAS: float32 sums whatever the elements, and a sum that goes on where another stopped.

    out ← a b + β · out

TF32, which rounds float32 factors to 10 bits of mantissa, is off unless `tf32()` says otherwise: float32 means float32.
"""

from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.context import having
from aimv2_np.kernels.cuda.cublas import call_captured
from aimv2_np.shapes import Array

_KINDS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType_t
_NO_TRANSPOSE, _TRANSPOSE = 0, 1  # cublasOperation_t
_32F, _64F, _32F_FAST_TF32 = 68, 70, 77  # cublasComputeType_t
_DEFAULT_ALGORITHM = -1
_FULL_PRECISION_SUMS = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION: partial sums stay float32 too
_FACTORS = {(b, t): np.array(b, t) for b in (0, 1) for t in ("float32", "float64")}  # cuBLAS reads α and β at addresses

_tf32: ContextVar[bool] = ContextVar("tf32", default=False)


def tf32() -> AbstractContextManager[None]:
    """Let float32 products round their factors to TF32 inside the `with` block (in this thread or task).

    On devices from sm_80 that is several times as fast, and about as exact as float16 with float32's range.
    """
    return having(_tf32, True)


def uses_tf32() -> bool:
    """Whether float32 products are inside such a block."""
    return _tf32.get()


def multiplies(*arrays: Array | None) -> bool:
    """Whether cuBLAS multiplies these: all of one floating type."""
    kinds = [array.dtype for array in arrays if array is not None]
    return kinds[0].name in _KINDS and all(kind == kinds[0] for kind in kinds)


def matmul(a: Array, b: Array, out: Array, *, beta: int = 0) -> None:
    """`out = a @ b + beta * out` for stacks of matrices, (G, R, K), (G, K, O), (G, R, O), without copying any of them.

    Rows of `a` and `out`, and rows or columns of `b`, are without gaps. `a` and `b` are of one type; `out` may be
    float32.
    """
    (batch, rows, inner), columns = a.shape, b.shape[2]
    if not out.size:
        return
    if not inner:
        if not beta:
            out[...] = 0
        return
    # cuBLAS counts columns first; its A is our b, its B our a: outᵀ = bᵀ aᵀ.
    transposed = (b.strides[2] != b.itemsize and columns > 1) or (columns == 1 and b.strides[1] == b.itemsize)
    ld_b = _leading(b, 2 if transposed else 1, inner if transposed else columns)
    compute = _64F if a.dtype == np.float64 else _32F_FAST_TF32 if _tf32.get() and a.dtype == np.float32 else _32F
    factor = "float64" if compute == _64F else "float32"
    shape = (_TRANSPOSE if transposed else _NO_TRANSPOSE, _NO_TRANSPOSE, columns, rows, inner)
    one, kept = (_FACTORS[number, factor].ctypes.data for number in (1, beta))
    b_lies = (b.data.ptr, _KINDS[b.dtype.name], ld_b)
    a_lies = (a.data.ptr, _KINDS[a.dtype.name], _leading(a, 1, inner))
    out_lies = (out.data.ptr, _KINDS[out.dtype.name], _leading(out, 1, columns))
    if batch == 1:  # which may share the sum out over the device, as a stack may not
        _call("gemmEx", namespace(a), *shape, one, *b_lies, *a_lies, kept, *out_lies, compute, _DEFAULT_ALGORITHM)
        return
    b_step, a_step, out_step = (x.strides[0] // x.itemsize for x in (b, a, out))
    _call("gemmStridedBatchedEx", namespace(a), *shape, one, *b_lies, b_step, *a_lies, a_step, kept, *out_lies,
          out_step, batch, compute, _DEFAULT_ALGORITHM)  # fmt: skip


def multiply_transposed(x: Array, weight: Array, out: Array | None = None, *, add: bool = False) -> Array:
    """`x @ weight.T` of (R, I) and (O, I), in `out` (R, O) where it is given; with `add`, added to what is there."""
    xp = namespace(x)
    x, weight = (m if _has_dense_rows(m) else xp.ascontiguousarray(m) for m in (x, weight))
    if out is None:
        out = xp.empty((len(x), len(weight)), x.dtype)
    matmul(x[None], weight.T[None], out[None], beta=int(add))
    return out


def _has_dense_rows(x: Array) -> bool:
    """Whether rows are without gaps and do not overlap, so that cuBLAS takes the matrix as it lies."""
    return x.strides[1] == x.itemsize and (len(x) == 1 or x.strides[0] >= x.shape[1] * x.itemsize)


def _leading(x: Array, axis: int, least: int) -> int:
    """Elements from one row (or column) to the next; where there is one only, whatever cuBLAS accepts."""
    return int(x.strides[axis] // x.itemsize) if x.shape[axis] > 1 else least


def _call(name: str, xp: Any, *args: Any) -> None:
    """A product by CuPy's handle of this thread and device; while the stream is captured by the library itself."""
    from cupy_backends.cuda.libs import cublas

    handle = xp.cuda.device.get_cublas_handle()
    cublas.setMathMode(handle, _FULL_PRECISION_SUMS)
    stream = xp.cuda.get_current_stream()
    if stream.ptr and stream.is_capturing():
        call_captured(f"cublas{name[0].upper()}{name[1:]}", xp, cublas, stream.ptr, handle, *args)
    else:
        getattr(cublas, name)(handle, *args)
