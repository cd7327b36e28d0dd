"""NumPy bodies that do the layers' equations in fewer passes over memory, and in bounded memory.

Work arrays belong to a call, so a model may be called from many threads at once. float16, which NumPy computes slowly
and only through float32, is left to the textbook.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from aimv2_np.layers.attention import attention
from aimv2_np.layers.linear import linear
from aimv2_np.layers.rms_norm import rms_norm
from aimv2_np.layers.swiglu import gated
from aimv2_np.operation import Operation

NDArray = np.ndarray[Any, np.dtype[Any]]

SCORES_BYTES = 4 << 20  # one tile of attention scores: about what stays in the last-level cache of a core
BLOCK_ELEMENTS = 1 << 16  # of element-wise work between two visits to main memory: 256 KiB of float32, half an L2 cache


def _body_of(op: Operation[..., Any]) -> Callable[[Callable[..., NDArray]], Callable[..., NDArray]]:
    """Register the decorated function as the NumPy body of `op` for every dtype but float16."""

    def add(body: Callable[..., NDArray]) -> Callable[..., NDArray]:
        @op.register(np.ndarray)
        @wraps(body)
        def choose(x: NDArray, *args: Any, **kwargs: Any) -> NDArray:
            return (op.textbook if x.dtype == np.float16 else body)(x, *args, **kwargs)

        return choose

    return add


@_body_of(linear)
def linear_rows(x: NDArray, weight: NDArray, bias: NDArray | None = None) -> NDArray:
    """All rows of all batch items in one matrix product; the bias is added in place."""
    y: NDArray = x.reshape(-1, x.shape[-1]) @ weight.T
    if bias is not None:
        y += bias
    result: NDArray = y.reshape(*x.shape[:-1], weight.shape[0])
    return result


@_body_of(rms_norm)
def rms_norm_rows(x: NDArray, weight: NDArray, eps: float) -> NDArray:
    """Two passes: a dot product of each row with itself, then the row times its factor times the gain."""
    mean_square = np.vecdot(x, x) / x.dtype.type(x.shape[-1])  # (...,)
    y: NDArray = x * (1 / np.sqrt(mean_square + x.dtype.type(eps)))[..., None]
    y *= weight
    return y


@_body_of(gated)
def gated_blocks(gate: NDArray, up: NDArray, hidden_act: str) -> NDArray:
    """SiLU in place, block by block, x / (1 + e^-x): e^-x may overflow to infinity, which gives the limit, zero."""
    if hidden_act not in ("silu", "swish"):
        plain: NDArray = gated.textbook(gate, up, hidden_act)
        return plain
    y = np.empty(gate.shape, gate.dtype)
    rows, size = y.reshape(-1, y.shape[-1]), y.shape[-1]
    with np.errstate(over="ignore"):
        for block in _slices(len(rows), max(1, BLOCK_ELEMENTS // size)):
            x, out = gate.reshape(-1, size)[block], rows[block]
            np.negative(x, out=out)
            np.exp(out, out=out)
            out += 1
            np.divide(x, out, out=out)
            out *= up.reshape(-1, size)[block]
    return y


@_body_of(attention)
def attention_tiles(q: NDArray, k: NDArray, v: NDArray, scale: float, mask: NDArray | None = None) -> NDArray:
    """Tiles of pictures and of query rows, so that scores take `SCORES_BYTES` and not N² numbers per head.

    The softmax's division is done after the product with the values: on d numbers a row instead of M.
    """
    batch, heads, queries, size = q.shape
    row_bytes = heads * k.shape[2] * q.itemsize
    rows = max(1, min(queries, SCORES_BYTES // max(1, row_bytes)))
    items = max(1, SCORES_BYTES // max(1, row_bytes * rows))
    out = np.empty((batch, queries, heads, size), q.dtype).swapaxes(1, 2)  # merging the heads again then copies nothing
    for b in _slices(batch, items):
        k_transposed = k[b].swapaxes(-1, -2)
        for n in _slices(queries, rows):
            scores = (q[b, :, n] * q.dtype.type(scale)) @ k_transposed  # (b, H, n, M)
            if mask is not None:
                tile = mask[b if len(mask) > 1 else slice(None), :, n if mask.shape[2] > 1 else slice(None)]
                np.copyto(scores, np.finfo(q.dtype).min, where=~tile)
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            result = out[b, :, n]
            np.matmul(scores, v[b], out=result)
            result /= scores.sum(axis=-1, keepdims=True)
    return out


def _slices(total: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, total)) for start in range(0, total, step))
