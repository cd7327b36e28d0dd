"""NumPy bodies that do the layers' equations in fewer passes over memory, in bounded memory, and on all cores.

Work arrays belong to a call, so a model may be called from many threads at once. float16, which NumPy computes slowly
and only through float32, is left to the textbook.

Memory layout: inside the blocks activations lie feature by feature, not token by token: an array (B, N, D) whose
strides say that the tokens of one feature are neighbours. BLAS then multiplies W Xᵀ, which for the few hundred tokens
of a picture is up to a tenth faster than X Wᵀ. The bodies follow the layout of what they are given.
"""

from functools import partial

import numpy as np

from aimv2_np.backends.parallel import cores, one_blas_thread, parts, pieces, run
from aimv2_np.kernels.ends import vectors_of_ends
from aimv2_np.kernels.numpy.attention import attend, merging_heads
from aimv2_np.kernels.numpy.gate import gated_into
from aimv2_np.kernels.numpy.norm import rms_factor, scale_features, squares_of_tokens
from aimv2_np.kernels.numpy.packed import run_packed
from aimv2_np.kernels.numpy.scratch import empty, empty_like, scratch
from aimv2_np.kernels.numpy.split import run_split
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.linear import linear
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.text import TextTower, text_vectors
from aimv2_np.network.view import EVERYONE, Mask, Packed, View
from aimv2_np.shapes import NDArray

JOB_TOKENS = 512  # that a core takes through the blocks together: enough for BLAS, little enough for its caches
WORTH_A_THREAD = 1 << 24  # multiplications; with fewer, starting a thread (a tenth of a millisecond) gains nothing


FLOAT16 = ("float16",)  # which NumPy computes slowly and only through float32: left to the textbook


@linear.register(np.ndarray, skip=FLOAT16)
def linear_rows(x: NDArray, weight: NDArray, bias: NDArray | None = None) -> NDArray:
    """All rows of all batch items in one matrix product, a slice of them on each core."""
    rows, outputs = x.reshape(-1, x.shape[-1]), len(weight)
    if by_feature := _by_feature(rows):
        y = empty((outputs, len(rows)), x.dtype).T
    else:
        y = empty((len(rows), outputs), x.dtype)

    def multiply(part: slice) -> None:
        if by_feature:
            np.matmul(weight, rows[part].T, out=y[part].T)
        else:
            np.matmul(rows[part], weight.T, out=y[part])
        if bias is not None:
            y[part] += bias

    workers = cores() if rows.shape[0] * weight.size > WORTH_A_THREAD else 1
    run([partial(multiply, part) for part in parts(len(rows), workers)], workers)
    return y.reshape(*x.shape[:-1], outputs)


@rms_norm.register(np.ndarray, skip=FLOAT16)
def rms_norm_rows(x: NDArray, weight: NDArray, eps: float) -> NDArray:
    """Two passes: a dot product of each row with itself, then the row times its factor times the gain."""
    rows = x.reshape(-1, x.shape[-1])
    if _by_feature(rows):
        y = empty_like(rows)
        scale_features(rows.T, weight, rms_factor(squares_of_tokens(rows.T), x.shape[-1], eps), y.T)
        return y.reshape(x.shape)
    factor = rms_factor(np.vecdot(x, x), x.shape[-1], eps)  # (...,)
    y = np.multiply(x, factor[..., None], out=empty_like(x))
    y *= weight
    return y


@gated.register(np.ndarray, skip=FLOAT16)
def gated_blocks(gate: NDArray, up: NDArray, hidden_act: str) -> NDArray:
    """In pieces that fit a core's cache, into an array that lies as `gate` does."""
    y = empty_like(gate)
    if not gate.strides == up.strides == y.strides:  # one order of elements must serve all three
        gate, up, y = np.ascontiguousarray(gate), np.ascontiguousarray(up), np.empty(gate.shape, gate.dtype)
    gated_into(gate, up, hidden_act, y)
    return y


@attention.register(np.ndarray, skip=FLOAT16)
def attention_tiles(q: NDArray, k: NDArray, v: NDArray, scale: float, view: View = EVERYONE) -> NDArray:
    """In tiles of scores, into an array whose heads merge without a copy; of a pack, one image after the other."""
    out = merging_heads(q)
    with one_blas_thread():
        if isinstance(view, Packed):
            for n, m in view.slices():
                attend(q[:, :, n], k[:, :, m], v[:, :, m], scale, None, out[:, :, n])
        else:
            attend(q, k, v, scale, view.allowed(np, q.shape[2], k.shape[2]), out)
    return out


@run_layers.register(np.ndarray, skip=FLOAT16)
def run_layers_in_slices(x: NDArray, layers: list[EncoderLayer], view: View = EVERYONE) -> NDArray:
    """Each core takes some of the images through all layers; on what is left over they work together."""
    if not layers or not x.size:
        return run_layers.textbook(x, layers, view)  # type: ignore[no-any-return]
    batch, tokens, size = x.shape
    workers = cores() if x.size * layers[0].ffn.gate_proj.weight.size // size > WORTH_A_THREAD else 1
    if isinstance(view, Packed):
        return run_packed(x, layers, view.lengths, partial(_through, layers=layers), workers, JOB_TOKENS)
    allowed = view.allowed(np, tokens, tokens)  # once for all layers
    view = EVERYONE if allowed is None else Mask(allowed)
    out = np.empty(x.shape, x.dtype)

    def work(b: slice) -> None:
        with scratch():
            out[b] = _through(x[b], view.of(b), layers)

    each = batch // workers
    run([partial(work, b) for b in _rounds(each, workers, tokens)], workers)
    if rest := batch - each * workers:
        b = slice(batch - rest, batch)
        with scratch():
            out[b] = run_split(x[b], layers, view.of(b), workers, JOB_TOKENS * workers)
    return out


@text_vectors.register(np.ndarray)
def text_vectors_of_ends(ids: NDArray, tower: TextTower, view: View) -> NDArray:
    """In the last layer all tokens but the ends are keys and values only."""
    return vectors_of_ends(ids, tower, view)  # type: ignore[no-any-return]


def _rounds(pictures: int, workers: int, tokens: int) -> list[slice]:
    """`pictures` for each worker, in as few rounds as `JOB_TOKENS` allows, in each of which all have equally many."""
    rounds = parts(pictures, min(pictures, -(-pictures * tokens // JOB_TOKENS)))
    return [slice(w * pictures + b.start, w * pictures + b.stop) for b in rounds for w in range(workers)]


def _through(x: NDArray, view: View, layers: list[EncoderLayer]) -> NDArray:
    """The layers, adding in place to a copy of `x` that lies feature by feature; the MLP in blocks of tokens."""
    x = np.array(x.transpose(2, 0, 1), order="C").transpose(1, 2, 0)  # (B, N, D)
    rows = x.reshape(-1, x.shape[-1])
    for layer in layers:
        x += layer.attention(layer.rms_norm1(x), view)
        for n in pieces(len(rows), JOB_TOKENS):
            rows[n] += layer.ffn(layer.rms_norm2(rows[n]))
    return x


def _by_feature(rows: NDArray) -> bool:
    """Whether the rows of one feature are neighbours in memory, and not the features of one row."""
    return rows.strides[0] == rows.itemsize != rows.strides[1]
