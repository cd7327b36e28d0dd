"""Attention in tiles of scores, in bounded memory: never N² numbers.

Scores are (…, M, n), keys before queries: the largest and the sum of each query then run along contiguous rows. The
softmax's division is done after the product with the values: on d numbers a query instead of M.
"""

import numpy as np

from aimv2_np.backends.parallel import parts, pieces
from aimv2_np.kernels.numpy.tail import without_tail
from aimv2_np.shapes import NDArray

SCORES_BYTES = 4 << 20  # one tile of attention scores at most: a core's share of the last cache
TILE_QUERIES = 256  # enough for BLAS; with fewer, it spends its time on preparing the keys


def attend(q: NDArray, k: NDArray, v: NDArray, scale: float, mask: NDArray | None, out: NDArray) -> None:
    """out = softmax(scale · q kᵀ) v: all keys at once, some queries, and several heads where these are small."""
    batch, heads, queries, _ = q.shape
    row_bytes = max(1, k.shape[2] * q.itemsize)
    tiles = parts(queries, -(-queries // max(1, min(TILE_QUERIES, SCORES_BYTES // row_bytes))))
    together = max(1, SCORES_BYTES // (row_bytes * max((n.stop - n.start for n in tiles), default=1)))
    for b in range(batch):
        for h in pieces(heads, together):
            for n in tiles:
                _attend(q[b, h, n], k[b, h], v[b, h], scale, _tile(mask, b, n), out[b, h, n])


def _attend(q: NDArray, k: NDArray, v: NDArray, scale: float, mask: NDArray | None, out: NDArray) -> None:
    """One tile, of some heads."""
    scores = k @ (q * q.dtype.type(scale)).swapaxes(-1, -2)  # (h, M, n)
    if mask is not None:
        np.copyto(scores, np.finfo(q.dtype).min, where=~mask.swapaxes(-1, -2))
    scores -= scores.max(axis=-2, keepdims=True)
    np.exp(without_tail(scores), out=scores)
    result = out.swapaxes(-1, -2)  # (h, d, n)
    np.matmul(v.swapaxes(-1, -2), scores, out=result)
    result /= scores.sum(axis=-2, keepdims=True)


def _tile(mask: NDArray | None, b: int, n: slice) -> NDArray | None:
    """The part of a mask for an image and some queries; along an axis of length one it is the same for all."""
    if mask is None:
        return None
    return mask[b if len(mask) > 1 else 0, :, n if mask.shape[2] > 1 else slice(None)]
