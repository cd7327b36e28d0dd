"""Attention on the device: which of four ways, by element type, device, length and size of head.

- one query per head (the pooling head): its own kernel;
- 16-bit elements on sm_80 and later: tiles on tensor cores;
- short sequences otherwise: two products of stacks of matrices with a softmax between them;
- long ones: tiles in float32 arithmetic, memory linear in the number of tokens.
"""

from functools import lru_cache
from types import ModuleType

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda.gemm import matmul
from aimv2_np.kernels.cuda.launch import VECTOR_BYTES, computes, element, launch
from aimv2_np.network.attention import attention
from aimv2_np.network.view import EVERYONE, Packed, View
from aimv2_np.shapes import Array, Bool, Float

SCORES_BYTES = 64 << 20  # of scores at once, between two products
SHORT = 1024  # keys, up to which products win over tiles on float32 units
TENSOR_CORE_HEAD, TILE_HEAD, ONE_QUERY_HEAD = 128, 128, 256  # the largest d of each kernel
WARPS, KEYS = 4, 64  # of attention_tensor_cores.cu
ROWS, TILE_KEYS, PAD = 64, 32, 4  # of attention_tiles.cu


def attend(q: Array, k: Array, v: Array, scale: float, view: View = EVERYONE) -> Float[Array, "B H N d"]:
    """softmax(scale · q kᵀ) v, with memory for tokens one after the other: merging the heads copies nothing."""
    if not computes(q, k, v) or not q.size or not k.size:
        return attention.textbook(q, k, v, scale, view)
    if not isinstance(view, Packed):
        mask = view.allowed(namespace(q), q.shape[2], k.shape[2])
        return attention_on_device(q, k, v, scale, mask)
    if view.queries is None and q.shape[3] <= TILE_HEAD:
        return packed_attention_on_device(q, k, v, scale, view.lengths)
    if view == view.pooled() and q.shape[3] <= ONE_QUERY_HEAD:
        return pool_packed_on_device(q, k, v, scale, view.lengths)
    return attention.textbook(q, k, v, scale, view)


def attention_on_device(
    q: Array, k: Array, v: Array, scale: float, mask: Bool[Array, "#B 1 #N M"] | None
) -> Float[Array, "B H N d"]:
    """Attention of all queries to all keys that the mask allows."""
    q, k, v = (_inner(it) for it in (q, k, v))
    if mask is not None and mask.strides[3] != 1:
        mask = namespace(q).ascontiguousarray(mask)
    out = _empty(q)
    if q.shape[2] == 1 and mask is None and q.shape[3] <= ONE_QUERY_HEAD:
        _one_query(out, q, k, v, scale, None)
    elif _tensor_cores(out, q, k, v):
        _tiled("attention_tensor_cores", out, q, k, v, scale, mask, None, 0)
    elif k.shape[2] <= SHORT or q.shape[3] > TILE_HEAD:
        _by_products(out, q, k, v, scale, mask)
    else:
        _tiled("attention_tiles", out, q, k, v, scale, mask, None, 0)
    return out


def packed_attention_on_device(
    q: Float[Array, "1 H T d"], k: Array, v: Array, scale: float, lengths: tuple[int, ...]
) -> Float[Array, "1 H T d"]:
    """Attention within each of several sequences that lie one after the other; `lengths` says how long each is."""
    q, k, v = (_inner(it) for it in (q, k, v))
    out = _empty(q)
    starts = _starts(namespace(q), lengths)
    kernel = "attention_tensor_cores" if _tensor_cores(out, q, k, v) else "attention_tiles"
    _tiled(kernel, out, q, k, v, scale, None, starts, max(lengths))
    return out


def pool_packed_on_device(
    q: Float[Array, "1 H S d"], k: Float[Array, "1 H T d"], v: Array, scale: float, lengths: tuple[int, ...]
) -> Float[Array, "1 H S d"]:
    """Attention of one query each to several sequences that lie one after the other."""
    q, k, v = (_inner(it) for it in (q.transpose(2, 1, 0, 3), k, v))  # (S, H, 1, d)
    out = _empty(q)
    _one_query(out, q, k, v, scale, _starts(namespace(q), lengths))
    return out.transpose(2, 1, 0, 3)


def _tensor_cores(*arrays: Array) -> bool:
    """Whether the kernel for tensor cores takes these: 16-bit, rows that begin at multiples of 16 bytes, sm_80."""
    first = arrays[0]
    return (
        first.itemsize == 2
        and first.shape[3] <= TENSOR_CORE_HEAD
        and int(first.device.compute_capability) >= 80
        and all(_aligned(array) for array in arrays)
    )


def _aligned(array: Array) -> bool:
    steps = [stride for stride, count in zip(array.strides, array.shape, strict=True) if count > 1][:-1]
    row = array.shape[3] * array.itemsize
    return not any(it % VECTOR_BYTES for it in (array.data.ptr, row, *steps)) and array.strides[3] == array.itemsize


def _tiled(
    kernel: str, out: Array, q: Array, k: Array, v: Array, scale: float, mask: Array | None, starts: Array | None,
    longest: int,
) -> None:  # fmt: skip
    """A kernel with a block per head and `ROWS` queries, for a batch or for packed sequences of at most `longest`."""
    batch, heads, queries, size = q.shape
    if starts is not None:
        batch, queries = len(starts) - 1, longest
    tiles = -(-queries // ROWS)
    if kernel == "attention_tensor_cores":
        dim = 64 if size <= 64 else 128
        template, block, shared = [element(q), dim, WARPS], 32 * WARPS, 2 * KEYS * dim * q.itemsize
    else:
        dim = next(dim for dim in (32, 64, 128) if size <= dim)
        vector = VECTOR_BYTES // q.itemsize if all(_aligned(it) for it in (q, k, v)) else 1
        rows = (ROWS + TILE_KEYS) * (dim + PAD) + ROWS * (TILE_KEYS + PAD)
        template, block, shared = [element(q), dim, vector], 128, 4 * rows
    numbers = [np.int32(it) for it in (queries, k.shape[2], tiles, heads, size)]
    strides = [np.int64(it) for it in (*_strides(q, k, v, out), *_mask_strides(mask))]
    launch(kernel, template, [tiles * batch * heads], block,
           [out, q, k, v, mask, starts, *numbers, *strides, np.float32(scale)], shared=shared)  # fmt: skip


def _one_query(out: Array, q: Array, k: Array, v: Array, scale: float, starts: Array | None) -> None:
    batch, heads, _, size = q.shape
    vector = 4 if all(_fours(it) for it in (q, k, v)) else 1
    numbers = [np.int32(it) for it in (k.shape[2], heads, size)]
    strides = [np.int64(it) for it in _strides(q, k, v, out)]
    launch("attention_one_query", [element(q), vector], [batch * heads], 256,
           [out, q, k, v, starts, *numbers, *strides, np.float32(scale)])  # fmt: skip


def _fours(array: Array) -> bool:
    """Whether four neighbours may be read at once: rows begin at multiples of four elements."""
    step = 4 * array.itemsize
    return array.shape[3] % 4 == 0 and not any(it % step for it in (array.data.ptr, *array.strides[:3]))


def _by_products(out: Array, q: Array, k: Array, v: Array, scale: float, mask: Array | None) -> None:
    """Scores of some pictures, or of some queries of one, in float32; their softmax; the product with the values."""
    xp, (batch, heads, queries, _), keys = namespace(q), q.shape, k.shape[2]
    items = max(1, min(batch, SCORES_BYTES // (4 * heads * queries * keys)))
    rows = queries if items > 1 else max(1, min(queries, SCORES_BYTES // (4 * heads * keys)))
    for start in range(0, batch, items):
        b = slice(start, min(start + items, batch))
        for first in range(0, queries, rows):
            n = slice(first, min(first + rows, queries))
            scores = xp.empty((b.stop - b.start, heads, n.stop - n.start, keys), np.float32)
            _products(q[b, :, n], k[b].swapaxes(2, 3), scores)
            part = mask
            if mask is not None:
                part = mask[b if len(mask) > 1 else slice(None), :, n if mask.shape[2] > 1 else slice(None)]
            probs = _softmax(scores, scale, part, q.dtype)
            _products(probs, v[b], out[b, :, n])


def _softmax(scores: Float[Array, "B H N M"], scale: float, mask: Array | None, dtype: np.dtype) -> Array:
    """The softmax of `scale · scores` where the mask allows, as `dtype`; of float32, in the place of the scores."""
    probs = scores if dtype == np.float32 else namespace(scores).empty(scores.shape, dtype)
    _, heads, queries, keys = scores.shape
    rows = scores.size // keys
    launch("softmax", [element(probs)], [-(-rows // 4)], 128,
           [probs, scores, mask, np.int64(rows), *(np.int32(it) for it in (heads, queries, keys)),
            *(np.int64(it) for it in _mask_strides(mask)), np.float32(scale)])  # fmt: skip
    return probs


def _products(a: Array, b: Array, out: Array) -> None:
    """`out = a @ b` for (B, H, …): one call of cuBLAS where the stack has one stride, else one per picture or head."""
    if len(a) == 1:
        matmul(a[0], b[0], out[0])
    elif all(it.strides[0] == it.shape[1] * it.strides[1] for it in (a, b, out)):
        matmul(*(it.reshape(-1, *it.shape[2:]) for it in (a, b, out)))
    elif len(a) < a.shape[1]:
        for i in range(len(a)):
            matmul(a[i], b[i], out[i])
    else:
        for i in range(a.shape[1]):
            matmul(a[:, i], b[:, i], out[:, i])


def _starts(xp: ModuleType, lengths: tuple[int, ...]) -> Array:
    """Where each sequence begins, and where the last one ends, (S + 1,) on the device."""
    return _uploaded_starts(xp, lengths, xp.cuda.Device().id, xp.cuda.get_current_stream().ptr)


@lru_cache(64)  # copied to the device for the first block of a pack, not for the others
def _uploaded_starts(xp: ModuleType, lengths: tuple[int, ...], device: int, stream: int) -> Array:
    """For one stream: on another the copy may not have arrived yet."""
    ends = np.cumsum((0, *lengths), dtype=np.int32)
    return xp.asarray(ends)


def _empty(q: Array) -> Array:
    """For a result of the shape of `q`, (B, H, N, d), in the memory order (B, N, H, d)."""
    batch, heads, tokens, size = q.shape
    return namespace(q).empty((batch, tokens, heads, size), q.dtype).swapaxes(1, 2)


def _inner(x: Array) -> Array:
    """`x`, copied unless the numbers of one token and head are neighbours, and tokens do not overlap."""
    tidy = x.strides[3] == x.itemsize and (x.shape[2] == 1 or x.strides[2] >= x.shape[3] * x.itemsize)
    return x if tidy and min(x.strides) >= 0 else namespace(x).ascontiguousarray(x)


def _strides(*arrays: Array) -> list[int]:
    """Of all arrays in elements: the batch's, the heads', the tokens'."""
    return [array.strides[axis] // array.itemsize for axis in (0, 1, 2) for array in arrays]


def _mask_strides(mask: Array | None) -> list[int]:
    """Bytes from one picture, and from one query, to the next; 0 where all share one."""
    if mask is None:
        return [0, 0]
    return [mask.strides[axis] if mask.shape[axis] > 1 else 0 for axis in (0, 2)]
