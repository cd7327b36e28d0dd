"""A batch of columns, a mapping or a DataFrame, with columns of features more."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def with_columns(batch: Any, kept: Sequence[int], rows: int, added: Mapping[str, Any]) -> Any:
    """Those rows of a batch that are `kept`, of its `rows`, with columns of their own."""
    if hasattr(batch, "assign"):  # a DataFrame
        frame = batch if len(kept) == rows else batch.iloc[kept]
        return frame.assign(**{name: list(values) for name, values in added.items()})
    if len(kept) == rows:
        return {**batch, **added}
    left = {
        name: values[kept] if isinstance(values, np.ndarray) else [values[row] for row in kept]
        for name, values in batch.items()
    }
    return {**left, **added}


def with_holes(
    batch: Any, kept: Sequence[int], added: Mapping[str, Any], reasons: Mapping[int, str], column: str
) -> Any:
    """All rows of a batch, with None for what a broken picture does not have, and a column of what is wrong.

    Columns hold objects, whichever rows are broken, so that all batches have the same types.

    Args:
        batch: a mapping or a DataFrame.
        kept: numbers of the rows that the columns `added` are about.
        added: columns, of the rows that are `kept`.
        reasons: number of each other row → what is wrong with its picture.
        column: the name of the column for that.
    """
    rows = range(len(kept) + len(reasons))
    filled = {}
    for name, values in added.items():
        of_row = dict(zip(kept, values, strict=True))
        filled[name] = _objects([of_row.get(row) for row in rows])
    filled[column] = _objects([reasons.get(row) for row in rows])
    return with_columns(batch, rows, len(rows), filled)


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), object)
    for row, value in enumerate(values):  # all at once, arrays of one length would become an array of two axes
        array[row] = value
    return array
