"""The derivative of attention.

    S = s Q Kᵀ,    P = softmax(S) (row by row),    O = P V

    ∂L/∂V = Pᵀ G,    ∂L/∂P = G Vᵀ,    G = ∂L/∂O
    ∂L/∂S_ij = P_ij (∂L/∂P_ij - Σ_k P_ik ∂L/∂P_ik),    Σ_k P_ik ∂L/∂P_ik = Σ_c G_ic O_ic
    ∂L/∂Q = s ∂L/∂S K,    ∂L/∂K = s (∂L/∂S)ᵀ Q

The softmax's Jacobian is ∂P_ij/∂S_ik = P_ij (δ_jk - P_ik), which gives the third line. S and P are N × M; they are
computed anew for some queries at a time, so that memory grows with one tile and not with N · M (Dao et al. 2022,
arXiv:2205.14135, section 3.1). Where a query may not look, S has no derivative.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import backend_of, namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.gradients.slices import in_slices
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network.attention import attention, softmax
from aimv2_np.network.view import EVERYONE, Both, Causal, Packed, Prefix, View
from aimv2_np.shapes import Array, Bool, Float, NDArray

TILES = {"numpy": 1 << 16, "cupy": 1 << 22}  # scores that are held at a time, in all heads and sequences
ROWS = 32  # of queries at least, below which products of matrices are slow


@attention.register(Variable)
def attention_with_derivative(q: Any, k: Any, v: Any, scale: float, view: View = EVERYONE) -> Variable:
    """`attention` of variables. See docs/equations.md, (25)."""
    queries, keys, values = (value_of(x) for x in (q, k, v))
    output = attention(queries, keys, values, scale, view)

    return computed(output, (q, k, v), lambda g: backward(queries, keys, values, output, g, scale, view))


@operation
def backward(
    q: Float[Array, "B H N d"],
    k: Float[Array, "B H M d"],
    v: Float[Array, "B H M d"],
    output: Float[Array, "B H N d"],
    g: Float[Array, "B H N d"],
    scale: float,
    view: View,
) -> list[Array]:
    """∂L/∂q, ∂L/∂k and ∂L/∂v from ∂L/∂output, `g`, in float32 or wider.

    See docs/equations.md, (24), and docs/equations.md, (25).
    """
    xp = namespace(q)
    q, k, v, output = (widen(x) for x in (q, k, v, output))
    found = [xp.zeros(x.shape, x.dtype) for x in (q, k, v)]
    for rows, columns, mask in _tiles(q, k, view):
        some, keys, values, above = q[:, :, rows], k[:, :, columns], v[:, :, columns], g[:, :, rows]
        scores = scale * (some @ keys.swapaxes(-1, -2))
        if mask is not None:
            scores = xp.where(mask, scores, xp.finfo(scores.dtype).min)
        probs = softmax(scores)
        found[2][:, :, columns] += probs.swapaxes(-1, -2) @ above
        mean = (above * output[:, :, rows]).sum(axis=-1, keepdims=True)
        by_scores = probs * (above @ values.swapaxes(-1, -2) - mean)
        if mask is not None:
            by_scores = xp.where(mask, by_scores, xp.zeros((), by_scores.dtype))
        found[0][:, :, rows] = scale * (by_scores @ keys)
        found[1][:, :, columns] += scale * (by_scores.swapaxes(-1, -2) @ some)
    return found


@backward.register(np.ndarray)
def backward_of_some(
    q: NDArray, k: NDArray, v: NDArray, output: NDArray, g: NDArray, scale: float, view: View
) -> list[NDArray]:
    """Some sequences at a time, on all cores."""
    arrays = [widen(it) for it in (q, k, v, output)]
    found = [np.zeros(it.shape, it.dtype) for it in arrays[:3]]

    def some(rows: slice) -> None:
        q, k, v, o = (it[rows] for it in arrays)
        parts = backward.textbook(q, k, v, o, g[rows], scale, view.of(rows))
        for whole, part in zip(found, parts, strict=True):
            whole[rows] = part

    in_slices(g, some)
    return found


def _tiles(q: Array, k: Array, view: View) -> Iterator[tuple[slice, slice, Bool[Array, "#B 1 #n M"] | None]]:
    """Some queries, the keys that they are held against, and where they may look, in pieces of bounded size."""
    parts = view.slices() if isinstance(view, Packed) else [(slice(0, q.shape[2]), slice(0, k.shape[2]))]
    for own, seen in parts:
        step = max(ROWS, TILES[backend_of(q)] // max(1, q.shape[0] * q.shape[1] * (seen.stop - seen.start)))
        for start in range(own.start, own.stop, step):
            rows, keys = slice(start, min(start + step, own.stop)), seen
            if isinstance(view, Causal):  # none of them looks further
                keys = slice(0, min(rows.stop, seen.stop))
            yield rows, keys, None if isinstance(view, Packed) else allowed(view, q, rows, keys.stop)


def allowed(view: View, q: Float[Array, "B H N d"], rows: slice, keys: int) -> Bool[Array, "#B 1 #n M"] | None:
    """Where some of the queries may look among the first keys: `view.allowed` without the other queries' rows."""
    xp = namespace(q)
    if isinstance(view, Both):
        first, second = allowed(view.first, q, rows, keys), allowed(view.second, q, rows, keys)
        return second if first is None else first if second is None else first & second
    if isinstance(view, Causal | Prefix):
        earlier = (xp.arange(keys) <= xp.arange(rows.start, rows.stop)[:, None])[None, None]
        return (
            earlier if isinstance(view, Causal) else earlier | (xp.arange(keys) < view.lengths[:, None])[:, None, None]
        )
    found = view.allowed(xp, q.shape[2], keys)
    return found if found is None or found.shape[2] == 1 else found[:, :, rows]
