"""Mistakes in the derivative of looking up rows: a row that several tokens took has the sum of their gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.backward.tools import bent, forward_of
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing
from aimv2_np.network.embedding import Embedding
from aimv2_np.shapes import Array, NDArray


def _of(kept: Callable[[NDArray], NDArray]) -> Plant:
    """The gradients of some tokens alone, given the ids of all in one row."""

    def forward(m: Any, ids: Any) -> Any:
        y = forward_of(m, ids)
        flat = np.asarray(ids).reshape(-1)

        def some(g: Array, right: Callable[[Array], Array]) -> Array:
            which = kept(flat).reshape(*np.shape(ids), 1)
            return right(np.where(which, g, np.zeros_like(g)))

        return bent(y, m.weight, some)

    return computing(forward)


def _last(ids: NDArray) -> NDArray:
    """Whether each is the last of its number."""
    kept = np.zeros(ids.size, bool)
    kept[ids.size - 1 - np.unique(ids[::-1], return_index=True)[1]] = True
    return kept


def _first(ids: NDArray) -> NDArray:
    kept = np.zeros(ids.size, bool)
    kept[np.unique(ids, return_index=True)[1]] = True
    return kept


def _mean(m: Any, ids: Any) -> Any:
    """The mean of the gradients of all tokens of a number."""
    numbers, counts = np.unique(np.asarray(ids), return_counts=True)
    y = forward_of(m, ids)

    def mean(g: Array, right: Callable[[Array], Array]) -> Array:
        found = right(g).copy()
        found[numbers] /= counts[:, None].astype(g.dtype)
        return found

    return bent(y, m.weight, mean)


FAULTS: Table = {
    ("rows_overwritten", Embedding): {
        "{path} gives a row the gradient of the last token that took it; it is the sum over all": _of(_last),
        "{path} gives a row the gradient of the first token that took it; it is the sum over all": _of(_first),
    },
    ("mean_for_sum", Embedding): {
        "{path} gives a row the mean of the gradients of all tokens that took it; it is their sum": computing(_mean),
    },
}
