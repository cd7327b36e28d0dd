"""Attention in tiles of scores, in bounded memory: never N² numbers.

Scores are (b, h, M, n), keys before queries: the largest and the sum of each query then run along contiguous rows. The
softmax's division is done after the product with the values: on d numbers a query instead of M.

Few keys, or a mask: a tile has all keys of some queries, and several heads or pictures where these are small. Many keys
(`_attend_many`): it has some of them, and sums run on from tile to tile, as in Milakov and Gimelshein 2018, "Online
normalizer calculation for softmax" (arXiv:1805.02867). Any number may be subtracted from all scores of a query, as long
as e^x stays finite; so the largest score of the first tile is, until one comes that is far larger. It is subtracted by
the product with the keys itself, and the sum of e^x comes with the product with the values: queries get it as one more
feature, keys and values a one. Of the passes over the scores there remain a glance at the largest, one at the smallest
(tail.py), and e^x.
"""

import numpy as np

from aimv2_np.backends.parallel import parts, pieces
from aimv2_np.kernels.numpy.scratch import empty
from aimv2_np.kernels.numpy.tail import without_tail
from aimv2_np.shapes import NDArray

SCORES_BYTES = 4 << 20  # one tile of attention scores at most: a core's share of the last cache
STACK_BYTES = 1 << 20  # several heads or pictures in a tile at most: a core's L2 cache
TILE_QUERIES = 256  # enough for BLAS; with fewer, it spends its time on preparing the keys
SHORT_ROW = 128  # queries in a tile whose scores are not worth a row of their own
MANY_KEYS = 512  # of which a tile has a part
MANY_TILE = (512, 1024)  # queries and keys at most
FAR = 20.0  # by how much a score may exceed what is subtracted: e^20 is 5e8, and what it is summed with stays finite


def merging_heads(q: NDArray) -> NDArray:
    """An array like `q` (B, H, N, d), by feature if `q` is, whose heads merge into (B, N, D) without a copy."""
    b, h, n, d = q.shape
    if q.strides[2] == q.itemsize:
        return empty((h, d, b, n), q.dtype).transpose(2, 0, 3, 1)
    return empty((b, n, h, d), q.dtype).swapaxes(1, 2)


def attend(q: NDArray, k: NDArray, v: NDArray, scale: float, mask: NDArray | None, out: NDArray) -> None:
    """out = softmax(scale · q kᵀ) v."""
    if mask is None and k.shape[2] > MANY_KEYS:
        for picture in zip(q, k, v, out, strict=True):
            for q_head, k_head, v_head, out_head in zip(*picture, strict=True):
                _attend_many(q_head, k_head, v_head, scale, out_head)
        return
    batch, heads, queries, _ = q.shape
    row_bytes = max(1, k.shape[2] * q.itemsize)
    tiles = parts(queries, -(-queries // max(1, min(TILE_QUERIES, SCORES_BYTES // row_bytes))))
    tile_bytes = row_bytes * max((n.stop - n.start for n in tiles), default=1)
    stack = min(STACK_BYTES, SCORES_BYTES) // tile_bytes
    together = max(1, min(heads, stack))
    items = max(1, stack // together) if together == heads else 1
    for b in pieces(batch, items):
        for h in pieces(heads, together):
            for n in tiles:
                _attend(q[b, h, n], k[b, h], v[b, h], scale, _tile(mask, b, n), out[b, h, n])


def _attend(q: NDArray, k: NDArray, v: NDArray, scale: float, mask: NDArray | None, out: NDArray) -> None:
    """One tile with all keys, of some heads and pictures.

    Where it has few queries, those of all of them are neighbours in memory, and NumPy takes them as one long row.
    """
    b, h, n, _ = q.shape
    if n <= SHORT_ROW:
        scores = empty((k.shape[2], b, h, n), q.dtype).transpose(1, 2, 0, 3)
    else:
        scores = empty((b, h, k.shape[2], n), q.dtype)
    np.matmul(k, (q * q.dtype.type(scale)).swapaxes(-1, -2), out=scores)
    if mask is not None:
        np.copyto(scores, np.finfo(q.dtype).min, where=~mask.swapaxes(-1, -2))
    scores -= scores.max(axis=-2, keepdims=True)
    np.exp(without_tail(scores), out=scores)
    result = out.swapaxes(-1, -2)  # (b, h, d, n)
    np.matmul(v.swapaxes(-1, -2), scores, out=result)
    total = empty((h, 1, b, n), q.dtype).transpose(2, 0, 1, 3)  # as `out` lies in memory
    result /= np.add.reduce(scores, axis=-2, keepdims=True, out=total)


def _attend_many(q: NDArray, k: NDArray, v: NDArray, scale: float, out: NDArray) -> None:
    """One head of one picture, tile by tile."""
    queries, keys, values = (empty((x.shape[1] + 1, len(x)), x.dtype) for x in (q, k, v))
    np.multiply(q.T, q.dtype.type(scale), out=queries[:-1])
    keys[:-1], values[:-1] = k.T, v.T
    keys[-1] = values[-1] = 1
    of_queries, of_keys = MANY_TILE
    blocks = parts(len(k), max(2, -(-len(k) // of_keys)))  # two at least: only the first needs passes for the shift
    for n in parts(len(q), -(-len(q) // of_queries)):
        sums = _sums(queries[:, n], keys, values, blocks)
        np.divide(sums[:-1], sums[-1], out=out[n].T)


def _sums(queries: NDArray, keys: NDArray, values: NDArray, blocks: list[slice]) -> NDArray:
    """Σ_j e^(s_j - shift) [v_j; 1] of each query, (d + 1, n). The last feature of `queries` becomes minus the shift."""
    shift = queries[-1]
    shift[...] = 0
    sums = np.zeros((len(values), len(shift)), values.dtype)
    for m in blocks:
        scores = np.matmul(keys[:, m].T, queries, out=empty((m.stop - m.start, len(shift)), queries.dtype))
        if m.start == 0 or scores.max() > FAR:
            above = scores.max(axis=0)
            if m.start > 0:
                above = np.maximum(above, 0)
                sums *= np.exp(without_tail(-above))
            scores -= above
            shift -= above
        sums += values[:, m] @ np.exp(without_tail(scores), out=scores)
    return sums


def _tile(mask: NDArray | None, b: slice, n: slice) -> NDArray | None:
    """The part of a mask for some pictures and some queries; along an axis of length one it is the same for all."""
    if mask is None:
        return None
    return mask[b if len(mask) > 1 else slice(None), :, n if mask.shape[2] > 1 else slice(None)]
