"""`cupy_backends.cuda.libs.cublas`: the two products that the package calls, on addresses, column by column.

Its wrappers refuse to work while the stream is captured, as CuPy's do; the library beneath them is `libcublas`.
"""

import ctypes
import itertools
import threading
from typing import Any

import ml_dtypes
import numpy as np

from tests.support.fake_cupy import devices, memory

CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 2: np.dtype(np.float16), 14: np.dtype(ml_dtypes.bfloat16)}


_handles = threading.local()


def handle() -> int:
    """Of the calling thread and the current device, as CuPy keeps them."""
    own: dict[int, int] = vars(_handles).setdefault("own", {})
    return own.setdefault(devices.current(), 1 + next(_numbers))


def setMathMode(handle: int, mode: int) -> None:  # noqa: N802
    """Noted by nobody: sums here are float32 anyway."""


_numbers = itertools.count()
calls: list[tuple[int, ...]] = []  # (m, n, k, batch) of every product since the list was cleared


def gemmEx(handle: int, *args: int) -> None:  # noqa: N802
    """C = α op(A) op(B) + β C."""
    devices.call_cublas()
    multiply(*as_batch(*args))


def gemmStridedBatchedEx(handle: int, *args: int) -> None:  # noqa: N802
    """The same for `batch` triples that lie strides (in elements) apart."""
    devices.call_cublas()
    multiply(*args)


def as_batch(
    transa: int, transb: int, m: int, n: int, k: int, alpha: int, a: int, a_type: int, lda: int, b: int,
    b_type: int, ldb: int, beta: int, c: int, c_type: int, ldc: int, compute: int, algo: int,
) -> tuple[int, ...]:  # fmt: skip
    """The arguments of one product as those of a batch of one."""
    return (transa, transb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0, 1, compute,
            algo)  # fmt: skip


def multiply(
    transa: int, transb: int, m: int, n: int, k: int, alpha: int, a: int, a_type: int, lda: int,
    stride_a: int, b: int, b_type: int, ldb: int, stride_b: int, beta: int, c: int, c_type: int, ldc: int,
    stride_c: int, batch: int, compute: int, algo: int,
) -> None:  # fmt: skip
    """What the device does, on the current stream."""
    wide = np.float64 if compute == CUBLAS_COMPUTE_64F else np.float32
    factors = [ctypes.cast(p, ctypes.POINTER(np.ctypeslib.as_ctypes_type(wide)))[0] for p in (alpha, beta)]
    calls.append((m, n, k, batch))
    if min(m, n, k, batch) < 1:
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE")

    def work() -> None:
        left = _matrices(a, a_type, (k, m) if transa else (m, k), lda, stride_a, batch)
        right = _matrices(b, b_type, (n, k) if transb else (k, n), ldb, stride_b, batch)
        out = _matrices(c, c_type, (m, n), ldc, stride_c, batch)
        left = left.swapaxes(1, 2) if transa else left
        right = right.swapaxes(1, 2) if transb else right
        with np.errstate(all="ignore"):  # a device warns of nothing
            product = factors[0] * np.matmul(left.astype(wide), right.astype(wide))
        if factors[1]:
            product += factors[1] * out.astype(wide)
        out[...] = product.astype(out.dtype)

    read = [memory.block_at(it) for it in ((a, b, c) if factors[1] else (a, b))]
    devices.execute(work, read, [memory.block_at(c)])


def _matrices(address: int, kind: int, shape: tuple[int, int], ld: int, stride: int, batch: int) -> Any:
    """(batch, rows, columns) at an address, each stored column by column."""
    if ld < max(1, shape[0]):
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE: leading dimension")
    dtype = DTYPES[kind]
    size = dtype.itemsize
    extent = ((batch - 1) * stride + (shape[1] - 1) * ld + shape[0]) * size
    memory = (ctypes.c_ubyte * extent).from_address(address)
    return np.ndarray((batch, *shape), dtype, buffer=memory, strides=(stride * size, size, ld * size))
