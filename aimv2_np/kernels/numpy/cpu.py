"""NumPy bodies for where no compiled kernels are, or do not serve: bounded memory, fewer passes over it, all cores.

float16, which NumPy computes slowly and only through float32, is left to the textbook.
"""

from functools import partial

import numpy as np

from aimv2_np.backends.arrays import factor_of, widen
from aimv2_np.backends.parallel import cores, parts, pieces, run
from aimv2_np.kernels.ends import vectors_of_ends
from aimv2_np.kernels.numpy.attention import attend
from aimv2_np.kernels.numpy.gate import gated_into
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.linear import linear
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.text import TextTower, text_vectors
from aimv2_np.network.view import EVERYONE, Mask, Packed, View
from aimv2_np.shapes import NDArray

FLOAT16 = ("float16",)
JOB_TOKENS = 512  # that a core takes through the layers together: enough for BLAS, little enough for its caches
WORTH_A_THREAD = 1 << 26  # multiplications; with fewer, starting threads gains nothing


def _workers(multiplications: int) -> int:
    return cores() if multiplications > WORTH_A_THREAD else 1


@linear.register(np.ndarray, skip=FLOAT16)
def linear_rows(x: NDArray, weight: NDArray, bias: NDArray | None = None) -> NDArray:
    """All rows of all batch items in one matrix product, a slice of them on each core."""
    rows, weight = factor_of(x, weight).reshape(-1, x.shape[-1]), widen(weight)
    y = np.empty((len(rows), len(weight)), x.dtype)

    def multiply(part: slice) -> None:
        np.matmul(rows[part], weight.T, out=y[part])
        if bias is not None:
            y[part] += bias

    workers = _workers(len(rows) * weight.size)
    run([partial(multiply, part) for part in parts(len(rows), workers)], workers)
    return y.reshape(*x.shape[:-1], len(weight))


@rms_norm.register(np.ndarray, skip=FLOAT16)
def rms_norm_rows(x: NDArray, weight: NDArray, eps: float) -> NDArray:
    """Two passes: a dot product of each row with itself, then the row times its factor times the gain."""
    number = x.dtype.type
    squares = np.vecdot(x, x)[..., None]
    y: NDArray = x * (1 / (np.sqrt(squares / number(x.shape[-1]) + number(eps)) + (squares - squares)))
    y *= weight
    return y


@gated.register(np.ndarray, skip=FLOAT16)
def gated_blocks(gate: NDArray, up: NDArray, hidden_act: str) -> NDArray:
    """In pieces that fit a core's cache."""
    if up.shape != gate.shape:
        return gated.textbook(gate, up, hidden_act)  # type: ignore[no-any-return]
    y = np.empty(gate.shape, gate.dtype)
    gated_into(gate.reshape(-1), up.reshape(-1), hidden_act, y.reshape(-1))
    return y


@attention.register(np.ndarray, skip=FLOAT16)
def attention_tiles(q: NDArray, k: NDArray, v: NDArray, scale: float, view: View = EVERYONE) -> NDArray:
    """In tiles of scores, into an array whose heads merge without a copy; of a pack, one image after the other."""
    batch, heads, queries, width = q.shape
    if not q.shape[:2] == k.shape[:2] == v.shape[:2]:
        return attention.textbook(q, k, v, scale, view)  # type: ignore[no-any-return]
    out = np.empty((batch, queries, heads, width), q.dtype).swapaxes(1, 2)
    workers = _workers(2 * q.size * k.shape[2])
    groups = parts(heads, workers)
    if isinstance(view, Packed):
        run([partial(attend, q[:, h, n], k[:, h, m], v[:, h, m], scale, None, out[:, h, n])
             for n, m in view.slices() for h in groups], workers)  # fmt: skip
    else:
        allowed = view.allowed(np, queries, k.shape[2])
        run([partial(attend, q[:, h], k[:, h], v[:, h], scale, allowed, out[:, h]) for h in groups], workers)
    return out


@run_layers.register(np.ndarray, skip=FLOAT16)
def run_layers_in_slices(x: NDArray, layers: list[EncoderLayer], view: View = EVERYONE) -> NDArray:
    """Each core takes some of the images through all layers; where there are fewer images, each operation is shared."""
    batch, tokens, width = x.shape
    if isinstance(view, Packed):
        images: list[tuple[slice, slice, View]] = [(slice(0, 1), n, EVERYONE) for n, _ in view.slices()]
    else:
        allowed = view.allowed(np, tokens, tokens)  # once for all layers
        whole = EVERYONE if allowed is None else Mask(allowed)
        together = max(1, min(JOB_TOKENS // max(1, tokens), batch // cores()))
        images = [(b, slice(None), whole.of(b)) for b in pieces(batch, together)]
    out = np.empty(x.shape, x.dtype)

    def work(b: slice, n: slice, view: View) -> None:
        out[b, n] = run_layers.textbook(x[b, n], layers, view)

    jobs = [partial(work, *image) for image in images]
    workers = _workers(x.size * 12 * width)
    if len(jobs) < workers:
        for job in jobs:
            job()
    else:
        run(jobs, workers)
    return out


@text_vectors.register(np.ndarray)
def text_vectors_of_ends(ids: NDArray, tower: TextTower, view: View) -> NDArray:
    """In the last layer all tokens but the ends are keys and values only."""
    return vectors_of_ends(ids, tower, view)  # type: ignore[no-any-return]
