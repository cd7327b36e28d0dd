"""Mistakes in attention: which projection is which, the scale, the softmax, and who may look at whom."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, holding, with_fields, with_forward
from aimv2_np.network.attention import Attention, merge_heads, split_heads
from aimv2_np.network.linear import Linear
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.view import CAUSAL, EVERYONE, Padded, View
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe

QKV = ("q_proj", "k_proj", "v_proj")


def attending(
    scale: Callable[[int, int], float] = lambda size, heads: size**-0.5,
    axis: int = -1,
    products: Callable[[Array], Array] = lambda products: products,
) -> Plant:
    """Attention, or the pooling head's, as it is written but for some steps.

    Args:
        scale: (size of a head, number of heads) → what the products q kᵀ are multiplied with.
        axis: over which the softmax of the scores (B, H, N, M) is taken.
        products: what becomes of q kᵀ (B, H, N, M) before it is scaled.
    """

    def forward(m: Any, x: Array, view: View = EVERYONE) -> Array:
        pooling = isinstance(m, AttentionPoolingHead)
        query = np.broadcast_to(m.cls_token, (x.shape[0], 1, x.shape[2])) if pooling else m.q_proj(x)
        q, k, v = (split_heads(part, m.heads) for part in (query, m.k_proj(x), m.v_proj(x)))
        for name, value in (("q", q), ("k", k), ("v", v)):
            observe(name, value)
        scores = products(q @ k.swapaxes(-1, -2)) * scale(q.shape[-1], m.heads)
        observe("scores", scores)
        allowed = (view.pooled() if pooling else view).allowed(np, q.shape[2], k.shape[2])
        if allowed is not None:
            scores = np.where(allowed, scores, np.finfo(scores.dtype).min)
        e = np.exp(scores - scores.max(axis=axis, keepdims=True))
        probs = e / e.sum(axis=axis, keepdims=True)
        observe("probs", probs)
        merged = merge_heads(probs @ v)
        return m.output_proj(merged[:, 0]) if pooling else m.out_proj(merged)

    return computing(forward)


def _with_view(when: Callable[[bool, Context], bool], *, padded: bool = False, causal: bool | None = None) -> Plant:
    """Attention with another view than it is called with.

    Args:
        when: (whether it is the text tower's, context) → whether this is a fault there.
        padded: whether the view keeps tokens from looking at padding.
        causal: whether it keeps them from looking at later ones; None for what the recording says.
    """

    def plant(attention: Any, path: str, context: Context) -> Module | None:
        padding = context.input("attention_mask") if padded else None
        view: View = CAUSAL if (context.causal if causal is None else causal) else EVERYONE
        if padding is not None:
            view = view & Padded(padding)

        def forward(m: Any, x: Array, *_: Any) -> Array:
            return type(m).forward(m, x, view)

        return with_forward(attention, forward) if when(context.is_text(path), context) else None

    return plant


def _has_padding(is_text: bool, context: Context) -> bool:
    padding = context.input("attention_mask")
    return is_text and padding is not None and not (padding != 0).all()


def _is_causal(is_text: bool, context: Context) -> bool:
    return is_text and context.causal


def _in_order(order: tuple[int, ...]) -> Plant:
    """The three projections in another order."""
    return holding(**{name: lambda m, part=QKV[i]: getattr(m, part) for name, i in zip(QKV, order, strict=True)})


def _by_head(attention: Any, *_: Any) -> Module:
    """Stacked rows (3, H, d) of q, k, v taken for (H, 3, d)."""
    parts = [getattr(attention, name) for name in QKV]

    def regroup(arrays: list[Array | None]) -> list[Array | None]:
        if any(array is None for array in arrays):
            return [None, None, None]
        rows: Array = np.concatenate(arrays)  # type: ignore[arg-type]
        groups = rows.reshape(attention.heads, 3, -1, *rows.shape[1:])
        return [groups[:, i].reshape(-1, *rows.shape[1:]) for i in range(3)]

    weights, biases = regroup([part.weight for part in parts]), regroup([part.bias for part in parts])
    return with_fields(attention, **dict(zip(QKV, map(Linear, weights, biases), strict=True)))


NOT_CAUSAL = (
    "{path} lets text look at later tokens; AIMv2's text tower is causal (Transformers' sdpa attention drops "
    "causality without a mask, or with one of all ones)"
)
FAULTS: Table = {
    ("qkv_order", Attention): {
        **{
            f"{{path}} takes its projections in the order {', '.join(QKV[i][0] for i in order)}; "
            "a stacked weight holds q, k, v": _in_order(order)
            for order in permutations(range(3))
            if order != (0, 1, 2)
        },
        "{path} splits a stacked weight head by head, (heads, 3, d); it holds all of q, then k, then v": _by_head,
    },
    ("qkv_order", AttentionPoolingHead): {
        "{path} exchanges k_proj and v_proj": holding(k_proj=lambda m: m.v_proj, v_proj=lambda m: m.k_proj),
    },
    **{
        (identifier, kind): ways
        for kind in (Attention, AttentionPoolingHead)
        for identifier, ways in {
            "missing_scale": {"{path} leaves out the scale 1/√d, d = {d}": attending(scale=lambda *_: 1.0)},
            "wrong_scale": {
                "{path} scales by 1/√(H·d), of all H = {m.heads} heads together; it is 1/√d, d = {d}": attending(
                    scale=lambda size, heads: (size * heads) ** -0.5
                ),
                "{path} scales by 1/d, or twice by 1/√d; it is once by 1/√d, d = {d}": attending(
                    scale=lambda size, _: 1 / size
                ),
            },
            "softmax_axis": {
                f"{{path}} takes its softmax over the {axis}; it is over the keys, the last axis": attending(
                    axis=number
                )
                for axis, number in {"queries": -2, "heads": 1}.items()
            },
        }.items()
    },
    ("text_not_causal", Attention): {
        NOT_CAUSAL: _with_view(_is_causal, padded=True, causal=False),
        f"{NOT_CAUSAL}, and padding is ignored": _with_view(_is_causal, causal=False),
    },
    ("padding_ignored", Attention): {"{path} ignores attention_mask: tokens look at padding": _with_view(_has_padding)},
    ("vision_causal", Attention): {
        "{path} lets patches look at earlier ones only; all look at each other": _with_view(
            lambda is_text, _: not is_text, causal=True
        ),
    },
}
