"""The derivative of attention on the device, in tiles: memory grows with the tokens, not with their square.

Two kernels, one by queries and one by keys, as FlashAttention-2 (Dao 2023, arXiv:2307.08691, algorithm 2), in float32
arithmetic; half precision is widened first. No two blocks add to one number. Larger heads, float64 and packs go by
products, as `gradients.attention` has them.
"""

import numpy as np

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.gradients.attention import backward
from aimv2_np.kernels.cuda.attention import empty_like, mask_strides, strides_of, tidy
from aimv2_np.kernels.cuda.launch import launch
from aimv2_np.network.view import Packed, View
from aimv2_np.shapes import Array

TILE, PAD = 32, 4  # of attention_back.cuh
DIMS = (64, 128)  # sizes of head that there are kernels for


def attend_back(q: Array, k: Array, v: Array, output: Array, g: Array, scale: float, view: View) -> list[Array]:
    """∂L/∂q, ∂L/∂k and ∂L/∂v, float32, in the memory order (B, N, H, d): splitting the heads copies nothing."""
    batch, heads, queries, size = q.shape
    keys = k.shape[2]
    q, k, v, output = (widen(x) for x in (q, k, v, output))
    if not (q.dtype == g.dtype == np.float32) or size > DIMS[-1] or not (q.size and k.size) or isinstance(view, Packed):
        return backward.textbook(q, k, v, output, g, scale, view)
    xp, dim = namespace(q), next(dim for dim in DIMS if size <= dim)
    mask = view.allowed(xp, queries, keys)
    if mask is not None and mask.strides[3] != 1:
        mask = xp.ascontiguousarray(mask)
    q, k, v, output, g = (tidy(x) for x in (q, k, v, output, g))
    by_q, by_k, by_v = (empty_like(x) for x in (q, k, v))
    rows = [xp.empty((batch, heads, queries), np.float32) for _ in range(3)]
    strides = [*map(np.int64, (*strides_of(q, k, v, output, g), *mask_strides(mask)))]
    shared = 4 * (3 * TILE * (dim + PAD) + TILE * (TILE + PAD))
    for kernel, arrays, length in (
        ("attention_back_queries", [by_q, *rows, q, k, v, output, g, mask], queries),
        ("attention_back_keys", [by_k, by_v, *rows, q, k, v, g, mask], keys),
    ):
        tiles = -(-length // TILE)
        numbers = [*map(np.int32, (queries, keys, tiles, heads, size))]
        launch(kernel, [dim], [tiles * batch * heads], 256,
               [*arrays, *numbers, *strides, np.float32(scale)], shared=shared)  # fmt: skip
    return [by_q, by_k, by_v]
