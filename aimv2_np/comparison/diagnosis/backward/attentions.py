"""Mistakes in the derivative of attention.

S = s Q Kᵀ,    P = softmax(S),    O = P V,    G = ∂L/∂O
∂L/∂V = Pᵀ G,    ∂L/∂S = P ⊙ (G Vᵀ - Σ),    ∂L/∂Q = s ∂L/∂S K,    ∂L/∂K = s (∂L/∂S)ᵀ Q
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.comparison.diagnosis.backward.tools import (
    ConstantSums,
    bent,
    derived_from,
    passing,
    plain,
    times,
)
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing
from aimv2_np.gradients.variable import Variable, value_of
from aimv2_np.network.activations import sigmoid
from aimv2_np.network.attention import Attention, attention, merge_heads, softmax, split_heads
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array
from aimv2_np.tree.recorder import observe

# (q, k, v, scale, view) → what attention gives of them, with a derivative of its own
Way = Callable[[Any, Any, Any, float, View], Any]


def attending(way: Way) -> Plant:
    """Attention, or the pooling head's, whose operation is `way`."""

    def forward(m: Any, x: Any, view: View = EVERYONE) -> Any:
        pooling = isinstance(m, AttentionPoolingHead)
        queries = (
            namespace(x).broadcast_to(m.cls_token, (len(x), view.sequences, x.shape[2])) if pooling else m.q_proj(x)
        )
        q, k, v = (split_heads(part, m.heads) for part in (queries, m.k_proj(x), m.v_proj(x)))
        for name, value in (("q", q), ("k", k), ("v", v)):
            observe(name, value)
        merged = merge_heads(way(q, k, v, q.shape[-1] ** -0.5, view.pooled() if pooling else view))
        return m.output_proj(merged.reshape(-1, x.shape[2])) if pooling else m.out_proj(merged)

    return computing(forward)


def _scaled(of_q: Callable[[float], float], of_k: Callable[[float], float]) -> Plant:
    """The gradients by q and by k, times functions of the scale."""
    return attending(
        lambda q, k, v, s, view: attention(passing(q, times(of_q(s))), passing(k, times(of_k(s))), v, s, view)
    )


def _element_by_element(q: Any, k: Any, v: Any, scale: float, view: View) -> Any:
    """P ⊙ (1 - P) for the derivative of the softmax: that of a sigmoid which has the same values."""
    xp = namespace(q)
    scores = scale * (q @ k.swapaxes(-1, -2))
    allowed = view.allowed(xp, q.shape[2], k.shape[2])
    held = value_of(scores) if allowed is None else np.where(allowed, value_of(scores), np.finfo(scores.dtype).min)
    probs = softmax(held)
    with np.errstate(all="ignore"):
        shift = np.clip(np.log(probs) - np.log1p(-probs), -500, 500) - value_of(scores)
    return derived_from(attention(value_of(q), value_of(k), value_of(v), scale, view), sigmoid(scores + shift) @ v)


def _exchanged(q: Any, k: Any, v: Any, scale: float, view: View) -> Any:
    """The gradients by q and k in each other's place."""
    y = attention(q, k, v, scale, view)
    if q.shape != k.shape or y.back is None or len(y.parents) != 3:
        return y
    back = y.back

    def exchanged(g: Array) -> list[Array | None]:
        by_q, by_k, by_v = back(g)
        return [by_k, by_q, by_v]

    return Variable(y.value, y.parents, exchanged)


def _not_transposed(q: Any, k: Any, v: Any, scale: float, view: View) -> Any:
    """∂L/∂V = P G for Pᵀ G: attention itself, of G."""
    y = attention(q, k, v, scale, view)
    if q.shape != k.shape:
        return y
    return bent(y, v, lambda g, _: attention(value_of(q), value_of(k), g, scale, view))


def _seeing(q: Any, k: Any, v: Any, scale: float, view: View) -> Any:
    """The derivative of attention to everyone."""
    return derived_from(
        attention(value_of(q), value_of(k), value_of(v), scale, view), attention(q, k, v, scale, EVERYONE)
    )


def _of(kind: type[Any]) -> Table:
    return {
        ("softmax_sum_missing", kind): {
            "{path} leaves the sum over the row out of its softmax's derivative, P ⊙ (∂L/∂P - Σ P ∂L/∂P)": attending(
                lambda q, k, v, s, view: plain(
                    attention(ConstantSums.of(q), ConstantSums.of(k), ConstantSums.of(v), s, view)
                )
            ),
        },
        ("softmax_element_by_element", kind): {
            "{path} takes P (1 - P) for the derivative of its softmax, as if it were a sigmoid": attending(
                _element_by_element
            ),
        },
        ("scale_missing_in_derivative", kind): {
            "{path} leaves the scale 1/√d out of the gradients by q and k, d = {d}": _scaled(
                lambda s: 1 / s, lambda s: 1 / s
            ),
            "{path} leaves the scale 1/√d out of the gradient by q, d = {d}": _scaled(lambda s: 1 / s, lambda s: 1),
            "{path} leaves the scale 1/√d out of the gradient by k, d = {d}": _scaled(lambda s: 1, lambda s: 1 / s),
            "{path} has the scale 1/√d twice in the gradients by q and k, d = {d}": _scaled(lambda s: s, lambda s: s),
        },
        ("mask_forgotten", kind): {
            "{path} lets gradients through where a query may not look": attending(_seeing),
        },
        ("probabilities_not_transposed", kind): {
            "{path} gives P ∂L/∂O for the gradient by v; it is Pᵀ ∂L/∂O": attending(_not_transposed),
        },
        ("q_and_k_exchanged", kind): {
            "{path} exchanges the gradients by q and k": attending(_exchanged),
        },
    }


FAULTS: Table = {**_of(Attention), **_of(AttentionPoolingHead)}
