"""Mistakes in attention: which projection is which, the scale, the softmax, and who may look at whom."""

from itertools import permutations
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Fault, Variants, with_fields, with_forward
from aimv2_np.network.attention import Attention, merge_heads, split_heads
from aimv2_np.network.linear import Linear
from aimv2_np.network.masks import make_mask
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.shapes import Array
from aimv2_np.tree.tracing import record

QKV = ("q_proj", "k_proj", "v_proj")


def qkv_order(attention: Any, path: str, _: Context) -> Variants:
    """The three projections in another order, or unstacked in another way."""
    parts = [getattr(attention, name) for name in QKV]
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            found = ", ".join(QKV[i][0] for i in order)
            yield (
                f"{path} takes its projections in the order {found}; a stacked weight holds q, k, v",
                with_fields(attention, **{name: parts[i] for name, i in zip(QKV, order, strict=True)}),
            )
    yield (
        f"{path} splits a stacked weight head by head, (heads, 3, d); it holds all of q, then k, then v",
        with_fields(attention, **dict(zip(QKV, _by_head(parts, attention.heads), strict=True))),
    )


def _by_head(parts: list[Linear], heads: int) -> list[Linear]:
    """Stacked (3, heads, d) rows taken for (heads, 3, d)."""

    def regroup(arrays: list[Array | None]) -> list[Array | None]:
        if any(array is None for array in arrays):
            return [None, None, None]
        rows: Array = np.concatenate(arrays)  # type: ignore[arg-type]
        groups = rows.reshape(heads, 3, rows.shape[0] // (3 * heads), *rows.shape[1:])
        return [groups[:, i].reshape(-1, *rows.shape[1:]) for i in range(3)]

    weights, biases = regroup([part.weight for part in parts]), regroup([part.bias for part in parts])
    return [Linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def kv_order(head: Any, path: str, _: Context) -> Variants:
    """Keys and values of the pooling head exchanged."""
    yield f"{path} exchanges k_proj and v_proj", with_fields(head, k_proj=head.v_proj, v_proj=head.k_proj)


def missing_scale(module: Any, path: str, _: Context) -> Variants:
    """Scores that are not divided by √d."""
    yield f"{path} leaves out the scale 1/√d, d = {_head_size(module)}", _attending(module, scale=1.0)


def wrong_scale(module: Any, path: str, _: Context) -> Variants:
    """Scores divided by something else."""
    size = _head_size(module)
    hidden = size * module.heads
    yield f"{path} scales by 1/√{hidden}, of all heads together; d is {size}", _attending(module, scale=hidden**-0.5)
    sentence = f"{path} scales by 1/d, or twice by 1/√d; it is once by 1/√d, d = {size}"
    yield sentence, _attending(module, scale=1 / size)


def softmax_axis(module: Any, path: str, _: Context) -> Variants:
    """The softmax over another axis than the keys."""
    yield f"{path} takes its softmax over the queries; it is over the keys, the last axis", _attending(module, axis=-2)
    yield f"{path} takes its softmax over the heads; it is over the keys, the last axis", _attending(module, axis=1)


def not_causal(attention: Any, path: str, context: Context) -> Variants:
    """Bidirectional text (S1): what Transformers' sdpa attention computes for texts of equal length."""
    padding = context.input("attention_mask")
    if not context.is_text(path) or not context.causal:
        return
    sentence = f"{path} lets text look at later tokens; AIMv2's text tower is causal"
    cause = " (Transformers' sdpa attention drops causality without a mask, or with one of all ones)"
    yield sentence + cause, _masked(attention, padding, causal=False)
    yield f"{sentence}, and padding is ignored", _masked(attention, None, causal=False)


def padding_ignored(attention: Any, path: str, context: Context) -> Variants:
    """The attention mask not used."""
    padding = context.input("attention_mask")
    if padding is not None and context.is_text(path) and not (padding != 0).all():
        sentence = f"{path} ignores attention_mask: tokens look at padding"
        yield sentence, _masked(attention, None, causal=context.causal)


def causal_vision(attention: Any, path: str, context: Context) -> Variants:
    """A causal mask among patches."""
    if not context.is_text(path):
        sentence = f"{path} lets patches look at earlier ones only; all look at each other"
        yield sentence, _masked(attention, None, causal=True)


def _masked(attention: Any, padding: Array | None, *, causal: bool) -> Any:
    def forward(m: Any, x: Array, _: Array | None = None, *__: Any) -> Array:
        return type(m).forward(m, x, make_mask(np, x.shape[1], padding, causal=causal))

    return with_forward(attention, forward)


def _head_size(module: Any) -> int:
    return int(module.k_proj.weight.shape[0]) // int(module.heads)


def _attending(module: Any, scale: float | None = None, axis: int = -1) -> Any:
    """Attention as it is written, but for the scale and the axis of the softmax."""

    def forward(m: Any, x: Array, mask: Array | None = None, *_: Any) -> Array:
        pooling = isinstance(m, AttentionPoolingHead)
        query = np.broadcast_to(m.cls_token, (x.shape[0], 1, x.shape[2])) if pooling else m.q_proj(x)
        q, k, v = (split_heads(part, m.heads) for part in (query, m.k_proj(x), m.v_proj(x)))
        for name, value in (("q", q), ("k", k), ("v", v)):
            record(name, value)
        scores = (q.shape[-1] ** -0.5 if scale is None else scale) * (q @ k.swapaxes(-1, -2))
        record("scores", scores)
        if mask is not None:
            scores = np.where(mask, scores, np.finfo(scores.dtype).min)
        e = np.exp(scores - scores.max(axis=axis, keepdims=True))
        probs = e / e.sum(axis=axis, keepdims=True)
        record("probs", probs)
        merged = merge_heads(probs @ v)
        return m.output_proj(merged[:, 0]) if pooling else m.out_proj(merged)

    return with_forward(module, forward)


FAULTS = (
    Fault("qkv_order", Attention, qkv_order),
    Fault("qkv_order", AttentionPoolingHead, kv_order),
    *(
        Fault(identifier, kind, plant)
        for kind in (Attention, AttentionPoolingHead)
        for identifier, plant in (
            ("missing_scale", missing_scale),
            ("wrong_scale", wrong_scale),
            ("softmax_axis", softmax_axis),
        )
    ),
    Fault("text_not_causal", Attention, not_causal),
    Fault("padding_ignored", Attention, padding_ignored),
    Fault("vision_causal", Attention, causal_vision),
)
