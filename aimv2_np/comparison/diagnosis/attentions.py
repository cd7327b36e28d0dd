"""Mistakes in attention: which projection is which, the heads, the scale, the softmax."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.comparison.diagnosis import stacked
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, exchanging, holding, varying
from aimv2_np.comparison.diagnosis.heads import GROUPS, HEADS, LAYOUTS, SHARED, WHICH
from aimv2_np.network.attention import Attention, merge_heads, split_heads
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe

Split = Callable[[Array, int], Array]  # (B, N, D), heads → (B, H, N, d)
Merge = Callable[[Array], Array]  # (B, H, N, d) → (B, N, D)


def softmax(scores: Array, axis: int = -1) -> Array:
    """e^x / Σ e^x over an axis."""
    e = _exponentials(scores, axis)
    return e / e.sum(axis=axis, keepdims=True)


def _exponentials(scores: Array, axis: int = -1) -> Array:
    """e^(x - max)"""
    result: Array = namespace(scores).exp(scores - scores.max(axis=axis, keepdims=True))
    return result


def blocked_by(value: float) -> Callable[[Array, Array], Array]:
    """Scores with `value` where a query may not look."""
    return lambda scores, allowed: namespace(scores).where(allowed, scores, scores.dtype.type(value))


def attend(
    m: Any,
    x: Array,
    view: View = EVERYONE,
    *,
    heads: int = 0,
    split: Split = split_heads,
    merge: Merge = merge_heads,
    scale: Callable[[int, Any], float] = lambda size, m: size**-0.5,
    products: Callable[[Array], Array] = lambda products: products,
    blocked: Callable[[Array, Array], Array] | None = None,
    normalised: Callable[[Array], Array] = softmax,
    kept: Callable[[Array, Array], Array] = lambda probs, allowed: probs,
    looking: View | None = None,
    query: Callable[[Array], Array] = lambda query: query,
    keys: Callable[[Array], Array] = lambda keys: keys,
    values: Callable[[Array], Array] = lambda values: values,
) -> Array:
    """Attention, or the pooling head's, as it is written but for some steps.

    Args:
        heads: another number of heads than the module's.
        split, merge: how heads are taken from the channels, and put back.
        scale: (size of a head, module) → what the products q kᵀ are multiplied with.
        products: what becomes of q kᵀ (B, H, N, M) before it is scaled.
        blocked: (scores, where a query may look) → scores.
        normalised: scores (B, H, N, M) → probabilities.
        kept: (probabilities, where a query may look) → probabilities.
        looking: another view than the one that it is called with.
        query: what becomes of the queries (B, N, D).
        keys, values: what becomes of keys and values (B, H, M, d).
    """
    xp, pooling = namespace(x), isinstance(m, AttentionPoolingHead)
    view = view if looking is None else looking
    queries = xp.broadcast_to(m.cls_token, (x.shape[0], 1, x.shape[2])) if pooling else m.q_proj(x)
    q, k, v = (split(part, heads or m.heads) for part in (query(queries), m.k_proj(x), m.v_proj(x)))
    for name, value in (("q", q), ("k", k), ("v", v)):
        observe(name, value)
    k, v = keys(k), values(v)
    scores = products(q @ k.swapaxes(-1, -2)) * x.dtype.type(scale(q.shape[-1], m))
    observe("scores", scores)
    allowed = (view.pooled() if pooling else view).allowed(xp, q.shape[2], k.shape[2])
    if allowed is not None:
        scores = (blocked or blocked_by(np.finfo(scores.dtype).min))(scores, allowed)
    probs = normalised(scores)
    if allowed is not None:
        probs = kept(probs, allowed)
    observe("probs", probs)
    merged = merge(probs @ v)
    return m.output_proj(merged.reshape(x.shape[0], x.shape[2])) if pooling else m.out_proj(merged)


def _heads(heads: int, *, own_scale: bool) -> Plant:
    """Another number of heads, scaled by what fits them or by what fits the module's own."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        size = m.k_proj.weight.shape[0]
        if heads == m.heads or size % heads:
            return None
        options = {} if own_scale else {"scale": lambda _, m: (size // m.heads) ** -0.5}
        return varying(attend, heads=heads, **options)(m, path, context)

    return plant


FACTORS = {"two": 2.0, "one half": 0.5, "log₂ e": float(np.log2(np.e))}

SCALES: dict[str, tuple[str, Callable[[int, Any], float]]] = {
    "{path} leaves out the scale 1/√d, d = {d}": ("missing_scale", lambda *_: 1.0),
    "{path} scales by 1/√(H·d), of all H = {m.heads} heads together; it is 1/√d, d = {d}": (
        "wrong_scale",
        lambda size, m: (size * m.heads) ** -0.5,
    ),
    "{path} scales by 1/d, or twice by 1/√d; it is once by 1/√d, d = {d}": ("wrong_scale", lambda size, _: 1 / size),
    "{path} multiplies by √d; it divides by it, d = {d}": ("wrong_scale", lambda size, _: size**0.5),
    "{path} multiplies by √(H·d), of all H = {m.heads} heads together; it divides by √d, d = {d}": (
        "wrong_scale",
        lambda size, m: (size * m.heads) ** 0.5,
    ),
    "{path} scales by 1/√H, H = {m.heads} heads; it is 1/√d, d = {d}": ("wrong_scale", lambda _, m: m.heads**-0.5),
    "{path} scales by d^-¼, on q or k alone; it is 1/√d, d = {d}": ("wrong_scale", lambda size, _: size**-0.25),
}
SOFTMAXES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "{path} takes its softmax over the queries; it is over the keys, the last axis": (
        "softmax_axis",
        lambda scores: softmax(scores, -2),
    ),
    "{path} takes its softmax over the heads; it is over the keys, the last axis": (
        "softmax_axis",
        lambda scores: softmax(scores, 1),
    ),
    "{path} takes its softmax over the batch; it is over the keys, the last axis": (
        "softmax_axis",
        lambda scores: softmax(scores, 0),
    ),
    "{path} leaves out the softmax's denominator: its weights do not add up to one": (
        "wrong_softmax",
        _exponentials,
    ),
    "{path} takes the exponential of its scores; it is their softmax": ("wrong_softmax", np.exp),
    "{path} takes the logarithm of the softmax": (
        "wrong_softmax",
        lambda s: s - s.max(axis=-1, keepdims=True) - np.log(_exponentials(s).sum(axis=-1, keepdims=True)),
    ),
    "{path} divides its scores by the number of keys; it takes their softmax": (
        "wrong_softmax",
        lambda s: s / s.dtype.type(s.shape[-1]),
    ),
    "{path} divides what is positive of its scores by the number of keys; it takes their softmax": (
        "wrong_softmax",
        lambda s: np.maximum(s, 0) / s.dtype.type(s.shape[-1]),
    ),
    "{path} takes no softmax of its scores": ("wrong_softmax", lambda scores: scores),
    "{path} takes the sigmoid of its scores; it is their softmax": ("wrong_softmax", lambda s: 1 / (1 + np.exp(-s))),
    "{path} adds one to the softmax's denominator": (
        "wrong_softmax",
        lambda s: np.exp(s) / (1 + np.exp(s).sum(axis=-1, keepdims=True)),
    ),
    "{path} takes a softmax to the base 2; it is to the base e": ("wrong_softmax", lambda s: softmax(s * np.log(2.0))),
    "{path} weighs all tokens alike, as queries of zeros do": (
        "uniform_attention",
        lambda s: np.full_like(s, 1 / s.shape[-1]),
    ),
}


def _shared(share: Callable[[Array, int], Array], groups: int, which: tuple[str, ...]) -> Plant:
    """Heads that share keys or values in so many groups, where there are more heads than groups."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        if groups >= m.heads or m.heads % groups:
            return None
        return varying(attend, **dict.fromkeys(which, lambda x: share(x, groups)))(m, path, context)

    return plant


def _times(factor: float) -> Plant:
    """Scores so many times as large, where that is not one of `SCALES`."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        size = m.k_proj.weight.shape[0] // m.heads
        scale = factor * size**-0.5
        if any(np.isclose(scale, other(size, m)) for _, other in SCALES.values()):
            return None
        return varying(attend, scale=lambda *_: scale)(m, path, context)

    return plant


def _faults(kind: type[Module]) -> Table:
    """What attention and the pooling head may both do wrong."""
    table: dict[tuple[str, type[Module]], dict[str, Plant]] = {}
    for argument, ways in (("scale", SCALES), ("normalised", SOFTMAXES)):
        for sentence, (identifier, value) in ways.items():
            table.setdefault((identifier, kind), {})[sentence] = varying(attend, **{argument: value})
    table["wrong_scale", kind] |= {
        f"{{path}} multiplies its scores by {words}; they are scaled by 1/√d alone, d = {{d}}": _times(factor)
        for words, factor in FACTORS.items()
    }
    table["wrong_heads", kind] = {
        f"{{path}} has {heads} heads{note}; the model has {{m.heads}}": _heads(heads, own_scale=own)
        for heads in HEADS
        for own, note in ((True, ""), (False, ", but scales by 1/√{d} as for {m.heads}"))
    }
    table["wrong_heads", kind] |= {
        f"{{path}} has {groups} heads of {words} for its {{m.heads}} of queries, {how}; each has its own": _shared(
            share, groups, which
        )
        for groups in GROUPS
        for how, share in list(SHARED.items())[: 5 if groups > 1 else 3]
        for words, which in WHICH.items()
    }
    table["heads_interleaved", kind] = {
        sentence: varying(attend, **options) for sentence, options in LAYOUTS.items() if "interleaved" in sentence
    }
    table["heads_not_transposed", kind] = {
        sentence: varying(attend, **options) for sentence, options in LAYOUTS.items() if "interleaved" not in sentence
    }
    return table


FAULTS: Table = {
    ("qkv_order", Attention): stacked.PLANTS,
    ("qkv_order", AttentionPoolingHead): {
        "{path} exchanges k_proj and v_proj": holding(k_proj=lambda m: m.v_proj, v_proj=lambda m: m.k_proj),
        "{path} uses what v_proj gives as keys, and k_proj's as values": exchanging(
            k_proj=lambda m: m.v_proj, v_proj=lambda m: m.k_proj
        ),
    },
    ("v_out_swapped", Attention): {
        "{path} exchanges v_proj and out_proj": holding(v_proj=lambda m: m.out_proj, out_proj=lambda m: m.v_proj),
        "{path} takes out_proj for its values and v_proj for its output; it is the other way round": exchanging(
            v_proj=lambda m: m.out_proj, out_proj=lambda m: m.v_proj
        ),
    },
    **_faults(Attention),
    **{
        ("weight_sign", kind): {
            "{path} negates its queries, or its keys": varying(attend, products=lambda products: -products)
        }
        for kind in (Attention, AttentionPoolingHead)
    },
    ("tokens_reversed", Attention): {
        "{path} takes its queries from the last token to the first": varying(attend, query=lambda q: q[:, ::-1]),
        "{path} takes its keys from the last token to the first": varying(attend, keys=lambda k: k[:, :, ::-1]),
        "{path} takes its values from the last token to the first": varying(attend, values=lambda v: v[:, :, ::-1]),
    },
    **_faults(AttentionPoolingHead),
}
