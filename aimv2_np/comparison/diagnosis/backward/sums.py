"""Mistakes in sums over what was repeated: one row alone, or the mean for the sum.

A gain, a bias or a query is used for every token, and its gradient is the sum of theirs.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.backward.tools import bent, forward_of
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, with_fields, with_forward
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.text import TextEmbeddings
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

# Of ∂L/∂y (B, N, D) or (B, D), the rows whose gradients are summed up.
ROWS: dict[str, Callable[[Array], Array]] = {
    "the first token of the first item": lambda g: _only(g, (0,) * (g.ndim - 1)),
    "the last token of the last item": lambda g: _only(g, (-1,) * (g.ndim - 1)),
    "the first item of the batch": lambda g: _only(g, 0),
    "the last item of the batch": lambda g: _only(g, -1),
    "the first token of every item": lambda g: _only(g, (slice(None), 0)) if g.ndim > 2 else g,
    "the last token of every item": lambda g: _only(g, (slice(None), -1)) if g.ndim > 2 else g,
}
NUMBERS: dict[str, Callable[[tuple[int, ...]], int]] = {
    "over all tokens": lambda shape: prod(shape[:-1]),
    "over the batch": lambda shape: shape[0],
    "over the tokens of an item": lambda shape: shape[1] if len(shape) > 2 else 1,
}


def _only(g: Array, which: Any) -> Array:
    kept = np.zeros_like(g)
    kept[which] = g[which]
    return kept


def _by_weights(names: tuple[str, ...], of: Callable[[Array, Callable[[Array], Array]], Array]) -> Plant:
    """Another gradient by some of a module's arrays; None where it has none of them."""

    def plant(module: Any, *_: Any) -> Module | None:
        arrays = [vars(module).get(name) for name in names]
        if not all(isinstance(array, Variable) for array in arrays):
            return None

        def forward(m: Any, *args: Any) -> Any:
            y = forward_of(m, *args)
            for parent in y.parents:
                # The patch projection's weight takes part as a matrix.
                if any(parent is array or any(each is array for each in parent.parents) for array in arrays):
                    y = bent(y, parent, of)
            return y

        return with_forward(module, forward)

    return plant


def _positions(of: Callable[[Array, Callable[[Array], Array]], Array]) -> Plant:
    """Another gradient by the positions, which are added to every item of the batch."""
    return computing(lambda m, x: _bent_summand(forward_of(m, x), of))


def _bent_summand(y: Any, of: Callable[[Array, Callable[[Array], Array]], Array]) -> Any:
    return bent(y, y.parents[-1], of) if len(y.parents) == 2 else y


def _query(of: Callable[[Array], Array]) -> Plant:
    """Another gradient by the pooling head's query, of that of every image (B, 1, D)."""

    def forward(m: Any, x: Any, *args: Any) -> Any:
        token = m.cls_token
        repeated = np.broadcast_to(value_of(token), (len(x), 1, x.shape[2]))
        planted = with_fields(m, cls_token=computed(repeated, (token,), lambda g: (of(g),)))
        return type(m).forward(planted, x, *args)

    return computing(forward)


def _rows(kept: Callable[[Array], Array]) -> Callable[[Array, Callable[[Array], Array]], Array]:
    return lambda g, right: right(kept(g))


def _mean(number: Callable[[tuple[int, ...]], int]) -> Callable[[Array, Callable[[Array], Array]], Array]:
    return lambda g, right: right(g) / g.dtype.type(number(g.shape))


def _faults(identifier: str, words: str, ways: dict[str, Callable[[Array, Callable[[Array], Array]], Array]]) -> Table:
    table: dict[tuple[str, type[Module]], dict[str, Plant]] = {}
    several: list[tuple[type[Module], tuple[str, ...]]] = [
        (Linear, ("weight", "bias")),
        (PatchEmbed, ("weight", "bias")),
        (RMSNorm, ("weight",)),
    ]
    for kind, arrays in several:
        for how, of in ways.items():
            sentence = words.format(what="weights", how=how)
            table.setdefault((identifier, kind), {})[sentence] = _by_weights_that_are_there(arrays, of)
            if "bias" in arrays:
                for name in arrays:
                    table[identifier, kind][words.format(what=name, how=how)] = _by_weights((name,), of)
    for embeddings in (VisionEmbeddings, TextEmbeddings):
        table[identifier, embeddings] = {
            words.format(what="positions", how=how): _positions(of)
            for how, of in ways.items()
            if "item" in how or "batch" in how
        }
    return table


def _by_weights_that_are_there(names: tuple[str, ...], of: Any) -> Plant:
    def plant(module: Any, *rest: Any) -> Module | None:
        there = tuple(name for name in names if isinstance(vars(module).get(name), Variable))
        return _by_weights(there, of)(module, *rest) if there else None

    return plant


FAULTS: Table = {
    **_faults(
        "broadcast_not_summed",
        "{{path}} gives its {what} the gradient of {how} alone; it is the sum over all",
        {words: _rows(kept) for words, kept in ROWS.items()},
    ),
    **_faults(
        "mean_for_sum",
        "{{path}} gives its {what} the mean of the gradients {how}; it is their sum",
        {words: _mean(number) for words, number in NUMBERS.items()},
    ),
    ("broadcast_not_summed", AttentionPoolingHead): {
        "{path} gives its cls_token the gradient of the first image alone; it is the sum over all": _query(
            lambda g: g[:1]
        ),
        "{path} gives its cls_token the gradient of the last image alone; it is the sum over all": _query(
            lambda g: g[-1:]
        ),
    },
    ("mean_for_sum", AttentionPoolingHead): {
        "{path} gives its cls_token the mean of the gradients over the batch; it is their sum": _query(
            lambda g: g.mean(axis=0, keepdims=True)
        ),
    },
}
