"""Mistakes in attention: which projection is which, the heads, the scale, the softmax."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, exchanging, holding, varying, with_fields
from aimv2_np.network.attention import Attention, merge_heads, split_heads
from aimv2_np.network.linear import Linear
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe

QKV = ("q_proj", "k_proj", "v_proj")
HEADS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32)

Split = Callable[[Array, int], Array]  # (B, N, D), heads → (B, H, N, d)
Merge = Callable[[Array], Array]  # (B, H, N, d) → (B, N, D)


def softmax(scores: Array, axis: int = -1) -> Array:
    """e^x / Σ e^x over an axis."""
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def blocked_by(value: float) -> Callable[[Array, Array], Array]:
    """Scores with `value` where a query may not look."""
    return lambda scores, allowed: np.where(allowed, scores, scores.dtype.type(value))


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
    """
    pooling = isinstance(m, AttentionPoolingHead)
    view = view if looking is None else looking
    queries = np.broadcast_to(m.cls_token, (x.shape[0], 1, x.shape[2])) if pooling else m.q_proj(x)
    q, k, v = (split(part, heads or m.heads) for part in (query(queries), m.k_proj(x), m.v_proj(x)))
    for name, value in (("q", q), ("k", k), ("v", v)):
        observe(name, value)
    scores = products(q @ k.swapaxes(-1, -2)) * x.dtype.type(scale(q.shape[-1], m))
    observe("scores", scores)
    allowed = (view.pooled() if pooling else view).allowed(np, q.shape[2], k.shape[2])
    if allowed is not None:
        scores = (blocked or blocked_by(np.finfo(scores.dtype).min))(scores, allowed)
    probs = normalised(scores)
    if allowed is not None:
        probs = kept(probs, allowed)
    observe("probs", probs)
    merged = merge(probs @ v)
    return m.output_proj(merged[:, 0]) if pooling else m.out_proj(merged)


def _in_order(order: tuple[int, ...]) -> Plant:
    """The three projections in another order."""
    return holding(**{name: lambda m, part=QKV[i]: getattr(m, part) for name, i in zip(QKV, order, strict=True)})


def _used_as(order: tuple[int, ...]) -> Plant:
    """The outputs of the three projections in other roles."""
    return exchanging(**{name: lambda m, part=QKV[i]: getattr(m, part) for name, i in zip(QKV, order, strict=True)})


def _by_head(attention: Any, *_: Any) -> Module:
    """Stacked rows (3, H, d) of q, k, v taken for (H, 3, d)."""
    return _regrouped(attention, lambda rows, h: rows.reshape(h, 3, -1, *rows.shape[1:]).swapaxes(0, 1))


def _alternating(attention: Any, *_: Any) -> Module:
    """Stacked rows (3, D) of q, k, v taken for (D, 3)."""
    return _regrouped(attention, lambda rows, h: rows.reshape(-1, 3, *rows.shape[1:]).swapaxes(0, 1))


def _regrouped(attention: Any, regroup: Callable[[Array, int], Array]) -> Module:
    parts = [getattr(attention, name) for name in QKV]

    def three(arrays: list[Array | None]) -> list[Array | None]:
        if any(array is None for array in arrays):
            return [None, None, None]
        rows: Array = np.concatenate(arrays)  # type: ignore[arg-type]
        return [group.reshape(-1, *rows.shape[1:]) for group in regroup(rows, attention.heads)]

    weights, biases = three([part.weight for part in parts]), three([part.bias for part in parts])
    return with_fields(attention, **dict(zip(QKV, map(Linear, weights, biases), strict=True)))


def _heads(heads: int, *, own_scale: bool) -> Plant:
    """Another number of heads, scaled by what fits them or by what fits the module's own."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        size = m.k_proj.weight.shape[0]
        if heads == m.heads or size % heads:
            return None
        options = {} if own_scale else {"scale": lambda _, m: (size // m.heads) ** -0.5}
        return varying(attend, heads=heads, **options)(m, path, context)

    return plant


def _interleaved(x: Array, heads: int) -> Array:
    """(B, N, d·H) → (B, H, N, d)"""
    return x.reshape(*x.shape[:2], -1, heads).transpose(0, 3, 1, 2)


def _put_interleaved(x: Array) -> Array:
    """(B, H, N, d) → (B, N, d·H)"""
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)


def _split_as_it_lies(x: Array, heads: int) -> Array:
    """(B, N, H·d) reshaped to (B, H, N, d), as if no axes had to be exchanged."""
    batch, tokens, size = x.shape
    return x.reshape(batch, heads, tokens, size // heads)


def _merged_as_it_lies(x: Array) -> Array:
    """(B, H, N, d) reshaped to (B, N, H·d), as if no axes had to be exchanged."""
    return x.reshape(x.shape[0], x.shape[2], -1)


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
    "{path} takes no softmax of its scores": ("wrong_softmax", lambda scores: scores),
    "{path} takes the sigmoid of its scores; it is their softmax": ("wrong_softmax", lambda s: 1 / (1 + np.exp(-s))),
    "{path} adds one to the softmax's denominator": (
        "wrong_softmax",
        lambda s: np.exp(s) / (1 + np.exp(s).sum(axis=-1, keepdims=True)),
    ),
    "{path} takes a softmax to the base 2; it is to the base e": ("wrong_softmax", lambda s: softmax(s * np.log(2.0))),
    "{path} weighs all tokens alike": ("uniform_attention", lambda s: np.full_like(s, 1 / s.shape[-1])),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "{path} takes heads from interleaved channels, (d, H); it is (H, d)": {
        "split": _interleaved, "merge": _put_interleaved
    },
    "{path} splits heads from interleaved channels, (d, H); it is (H, d)": {"split": _interleaved},
    "{path} merges heads into interleaved channels, (d, H); it is (H, d)": {"merge": _put_interleaved},
    "{path} reshapes (B, N, H·d) to (B, H, N, d) without exchanging axes, and back so": {
        "split": _split_as_it_lies, "merge": _merged_as_it_lies
    },
    "{path} reshapes (B, N, H·d) to (B, H, N, d) without exchanging axes": {"split": _split_as_it_lies},
    "{path} reshapes (B, H, N, d) to (B, N, H·d) without exchanging axes": {"merge": _merged_as_it_lies},
}  # fmt: skip


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
    table["heads_interleaved", kind] = {
        sentence: varying(attend, **options) for sentence, options in LAYOUTS.items() if "interleaved" in sentence
    }
    table["heads_not_transposed", kind] = {
        sentence: varying(attend, **options) for sentence, options in LAYOUTS.items() if "interleaved" not in sentence
    }
    return table


FAULTS: Table = {
    ("qkv_order", Attention): {
        **{
            f"{{path}} takes its projections in the order {', '.join(QKV[i][0] for i in order)}; "
            "a stacked weight holds q, k, v": _in_order(order)
            for order in permutations(range(3))
            if order != (0, 1, 2)
        },
        **{
            f"{{path}} uses what {', '.join(QKV[i] for i in order)} give as q, k, v": _used_as(order)
            for order in permutations(range(3))
            if order != (0, 1, 2)
        },
        "{path} splits a stacked weight head by head, (heads, 3, d); it holds all of q, then k, then v": _by_head,
        "{path} splits a stacked weight row by row, (D, 3); it holds all of q, then k, then v": _alternating,
    },
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
    **_faults(AttentionPoolingHead),
}
