"""Attention on the device: which of several ways, by element type, device, length and size of head.

- one query per head (the pooling head): its own kernel;
- 16-bit elements on sm_90 and later, where `cudnn_attention()` asks for it: cuDNN, see cudnn.py;
- 16-bit elements on sm_80 and later: tiles on tensor cores, 64 or 128 queries of a head in a block;
- short sequences otherwise: two products of stacks of matrices with a softmax between them;
- long ones: tiles in float32 arithmetic, memory linear in the number of tokens.

`_compute` chooses, and `_rows` between 64 and 128.
"""

from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda import cudnn
from aimv2_np.kernels.cuda.gemm import matmul
from aimv2_np.kernels.cuda.launch import VECTOR_BYTES, computes, element, launch
from aimv2_np.network.attention import attention
from aimv2_np.network.view import EVERYONE, Packed, View
from aimv2_np.shapes import Array, Bool, Float

SCORES_BYTES = 64 << 20  # of scores at once, between two products
SHORT = 1024  # keys, up to which products win over tiles on float32 units
TENSOR_CORE_HEAD, TILE_HEAD, ONE_QUERY_HEAD = 128, 128, 256  # the largest d of each kernel
WARPS, KEYS = 4, 64  # of attention_tensor_cores.cu
RESERVED = 1 << 10  # bytes of shared memory that CUDA takes for itself in every block, from sm_80 on
ROWS, TILE_KEYS, PAD = 64, 32, 4  # of attention_tiles.cu


class Problem(NamedTuple):
    """What is to be computed, and where the result goes: `out = softmax(scale · q kᵀ) v` for each head."""

    out: Float[Array, "B H N d"]
    q: Float[Array, "B H N d"]
    k: Float[Array, "B H M d"]
    v: Float[Array, "B H M d"]
    scale: float
    mask: Bool[Array, "#B 1 #N M"] | None
    starts: Array | None = None  # (S + 1,): where each of S sequences begins that lie one after the other, B being 1
    longest: int = 0  # tokens of the longest of those

    @property
    def sequences(self) -> int:
        """How many sequences there are, each of which sees itself alone."""
        return len(self.q) if self.starts is None else len(self.starts) - 1

    @property
    def queries(self) -> int:
        """Queries of a sequence; of the longest one where they differ."""
        return self.longest if self.starts is not None else self.q.shape[2]


def attend(q: Array, k: Array, v: Array, scale: float, view: View = EVERYONE) -> Float[Array, "B H N d"]:
    """softmax(scale · q kᵀ) v, with memory for tokens one after the other: merging the heads copies nothing."""
    if isinstance(view, Packed):
        return _attend_packed(q, k, v, scale, view)
    if not computes(q, k, v) or not q.size or not k.size:
        return attention.textbook(q, k, v, scale, view)
    mask = view.allowed(namespace(q), q.shape[2], k.shape[2])
    if mask is not None and mask.strides[3] != 1:
        mask = namespace(q).ascontiguousarray(mask)
    q, k, v = (tidy(x) for x in (q, k, v))
    return _compute(Problem(empty_like(q), q, k, v, scale, mask))


def _attend_packed(q: Array, k: Array, v: Array, scale: float, view: Packed) -> Float[Array, "1 H N d"]:
    """All sequences at once where a kernel takes them, else one by one: memory for the longest, not for their sum."""
    xp, size, computed = namespace(q), q.shape[3], computes(q, k, v) and q.size and k.size
    if computed and view.queries is None and size <= TILE_HEAD:
        q, k, v = (tidy(x) for x in (q, k, v))
        return _compute(Problem(empty_like(q), q, k, v, scale, None, _starts(xp, view.lengths), max(view.lengths)))
    if computed and view == view.pooled() and size <= ONE_QUERY_HEAD:
        q, k, v = (tidy(x) for x in (q.transpose(2, 1, 0, 3), k, v))  # (1, H, S, d) -> (S, H, 1, d)
        out = empty_like(q)
        _one_query(out, q, k, v, scale, _starts(xp, view.lengths))
        return out.transpose(2, 1, 0, 3)
    out = empty_like(q)
    for queries, keys in view.slices():
        out[:, :, queries] = attend(q[:, :, queries], k[:, :, keys], v[:, :, keys], scale)
    return out


def _compute(p: Problem) -> Array:
    """Choose the way, and go it."""
    (_, _, queries, size), keys, packed = p.q.shape, p.k.shape[2], p.starts is not None
    if queries == 1 and p.mask is None and not packed and size <= ONE_QUERY_HEAD:
        _one_query(p.out, p.q, p.k, p.v, p.scale, None)
    elif _tensor_cores(p.out, p.q, p.k, p.v):
        plain = p.mask is None and not packed
        if not (plain and cudnn.attend(p.out, p.q, p.k, p.v, p.scale)):
            _on_tensor_cores(p, _rows(p))
    elif not packed and (keys <= SHORT or size > TILE_HEAD):
        _by_products(p.out, p.q, p.k, p.v, p.scale, p.mask)
    else:
        _in_tiles(p)
    return p.out


def _rows(p: Problem) -> int:
    """How many queries a block on tensor cores takes: 128, each warp 32; or 64, each warp 16.

    A tile of keys with 128 rows is predicted to take 1.25 times as long as with 64, which is for twice as much
    (docs/gpu.md). 64 win where half of the rows would be empty, where blocks of 128 would leave multiprocessors idle,
    and where two of them do not fit one (sm_86, sm_89, sm_120), so that nothing hides what a warp waits for.
    """
    multiprocessors, shared = _multiprocessors(namespace(p.q), p.q.device.id)
    blocks = -(-p.queries // 128) * p.sequences * p.q.shape[1]
    fits = 2 * (_shared_bytes(_dim(p), 128) + RESERVED) <= shared
    return 128 if p.queries > 64 and blocks >= multiprocessors and fits else 64


@lru_cache(64)
def _multiprocessors(xp: ModuleType, device: int) -> tuple[int, int]:
    """How many a device has, and the bytes of shared memory of each."""
    properties = xp.cuda.runtime.getDeviceProperties(device)
    return properties["multiProcessorCount"], properties["sharedMemPerMultiprocessor"]


def _dim(p: Problem) -> int:
    """The kernel's size of head on tensor cores, filled up with zeros."""
    return 64 if p.q.shape[3] <= 64 else 128


def _shared_bytes(dim: int, rows: int) -> int:
    """Of a block on tensor cores: a tile of keys, one of values, and the queries where registers do not hold them."""
    kept = rows // (16 * WARPS) * (dim // 16) <= 8
    return 2 * dim * (2 * KEYS + (0 if kept else rows))


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
    return not any(n % VECTOR_BYTES for n in (array.data.ptr, row, *steps)) and array.strides[3] == array.itemsize


def _on_tensor_cores(p: Problem, rows: int) -> None:
    dim = _dim(p)
    _tiled("attention_tensor_cores", [element(p.q), dim, rows], p, rows, 32 * WARPS, _shared_bytes(dim, rows))


def _in_tiles(p: Problem) -> None:
    dim = next(dim for dim in (32, 64, 128) if p.q.shape[3] <= dim)
    vector = VECTOR_BYTES // p.q.itemsize if all(map(_aligned, (p.q, p.k, p.v))) else 1
    floats = (ROWS + TILE_KEYS) * (dim + PAD) + ROWS * (TILE_KEYS + PAD)
    _tiled("attention_tiles", [element(p.q), dim, vector], p, ROWS, 128, 4 * floats)


def _tiled(kernel: str, template: list[object], p: Problem, rows: int, block: int, shared: int) -> None:
    """A kernel with a block per sequence, head and `rows` queries."""
    _, heads, queries, size = p.q.shape
    tiles = -(-p.queries // rows)
    numbers = [*map(np.int32, (queries, p.k.shape[2], tiles, heads, size))]
    strides = [*map(np.int64, (*strides_of(p.q, p.k, p.v, p.out), *mask_strides(p.mask)))]
    args = [p.out, p.q, p.k, p.v, p.mask, p.starts, *numbers, *strides, np.float32(p.scale)]
    launch(kernel, template, [tiles * p.sequences * heads], block, args, shared=shared)


def _one_query(out: Array, q: Array, k: Array, v: Array, scale: float, starts: Array | None) -> None:
    batch, heads, _, size = q.shape
    vector = 4 if all(map(_fours, (q, k, v))) else 1
    numbers = [*map(np.int32, (k.shape[2], heads, size))]
    strides = [*map(np.int64, strides_of(q, k, v, out))]
    launch("attention_one_query", [element(q), vector], [batch * heads], 256,
           [out, q, k, v, starts, *numbers, *strides, np.float32(scale)])  # fmt: skip


def _fours(array: Array) -> bool:
    """Whether four neighbours may be read at once: rows begin at multiples of four elements."""
    step = 4 * array.itemsize
    return array.shape[3] % 4 == 0 and not any(n % step for n in (array.data.ptr, *array.strides[:3]))


def _by_products(out: Array, q: Array, k: Array, v: Array, scale: float, mask: Array | None) -> None:
    """Scores of some images, or of some queries of one, in float32; their softmax; the product with the values."""
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
           [probs, scores, mask, *map(np.int32, (rows, heads, queries, keys)),
            *map(np.int64, mask_strides(mask)), np.float32(scale)])  # fmt: skip
    return probs


def _products(a: Array, b: Array, out: Array) -> None:
    """`out = a @ b` for (B, H, …): one call of cuBLAS where the stack has one stride, else one per image or head."""
    if len(a) == 1:
        matmul(a[0], b[0], out[0])
    elif all(x.strides[0] == x.shape[1] * x.strides[1] for x in (a, b, out)):
        matmul(*(x.reshape(-1, *x.shape[2:]) for x in (a, b, out)))
    elif len(a) < a.shape[1]:
        for i in range(len(a)):
            matmul(a[i], b[i], out[i])
    else:
        for i in range(a.shape[1]):
            matmul(a[:, i], b[:, i], out[:, i])


def _starts(xp: ModuleType, lengths: tuple[int, ...]) -> Array:
    """Where each sequence begins, and where the last one ends, (S + 1,) on the device."""
    return _uploaded_starts(xp, lengths, xp.cuda.Device().id, xp.cuda.get_current_stream().ptr)


@lru_cache(64)  # copied to the device for the first layer of a pack, not for the others
def _uploaded_starts(xp: ModuleType, lengths: tuple[int, ...], device: int, stream: int) -> Array:
    """For one stream: on another the copy may not have arrived yet."""
    ends = np.cumsum((0, *lengths), dtype=np.int32)
    return xp.asarray(ends)


def empty_like(q: Array) -> Array:
    """For a result of the shape of `q`, (B, H, N, d), in the memory order (B, N, H, d)."""
    batch, heads, tokens, size = q.shape
    return namespace(q).empty((batch, tokens, heads, size), q.dtype).swapaxes(1, 2)


def tidy(x: Array) -> Array:
    """`x`, copied unless the numbers of one token and head are neighbours, and tokens do not overlap."""
    inner = x.strides[3] == x.itemsize and (x.shape[2] == 1 or x.strides[2] >= x.shape[3] * x.itemsize)
    return x if inner and min(x.strides) >= 0 else namespace(x).ascontiguousarray(x)


def strides_of(*arrays: Array) -> list[int]:
    """Of all arrays in elements: the batch's, the heads', the tokens'."""
    return [array.strides[axis] // array.itemsize for axis in (0, 1, 2) for array in arrays]


def mask_strides(mask: Array | None) -> list[int]:
    """Bytes from one image, and from one query, to the next; 0 where all share one."""
    if mask is None:
        return [0, 0]
    return [mask.strides[axis] if mask.shape[axis] > 1 else 0 for axis in (0, 2)]
