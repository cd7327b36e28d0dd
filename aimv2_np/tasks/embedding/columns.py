"""Batches of columns, with columns of features more: mappings, DataFrames, and Arrow's tables and record batches."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

GRID: Final = "grid"  # of patches: rows and columns
ERROR: Final = "error"


def names_of(batch: Any) -> list[str]:
    """The names of the columns."""
    return list(batch.schema.names if _is_arrow(batch) else batch)


def values_of(batch: Any, name: str) -> list[Any]:
    """The values of a column."""
    return list(batch[name].to_pylist() if _is_arrow(batch) else batch[name])


def pictures_of(batch: Any, columns: Sequence[str]) -> tuple[str, list[Any], list[str]]:
    """Which of `columns` a batch has, the first; its values; and how to call each row.

    Raises ValueError or TypeError for a batch without any, or one whose columns do not say which row is which.
    """
    names = names_of(batch)
    column = next((name for name in columns if name in names), None)
    if column is None:
        raise ValueError(f"the batch has the columns {names!r:.200}; expected one of {', '.join(columns)}")
    if twice := [name for name in (column, "path") if names.count(name) > 1]:
        raise ValueError(f"the batch has several columns {twice[0]!r}; expected one")
    if isinstance(batch[column], str | bytes):
        raise TypeError(f"the column {column!r} is a single {type(batch[column]).__name__}; expected a list of them")
    pictures = values_of(batch, column)
    paths = [f" ({path!s:.200})" for path in values_of(batch, "path")] if "path" in names else [""] * len(pictures)
    if len(paths) != len(pictures):
        raise ValueError(f"the column {column!r} has {len(pictures)} rows and 'path' {len(paths)}; expected as many")
    return column, pictures, [f"row {row}{path}" for row, path in enumerate(paths)]


def with_columns(batch: Any, kept: Sequence[int], rows: int, added: Mapping[str, Any]) -> Any:
    """Those rows of a batch that are `kept`, of its `rows`, with columns of their own.

    In a DataFrame each row holds its array; in Arrow, a list of float32, of int32 in "grid", or a text in "error".
    """
    whole = len(kept) == rows
    if _is_arrow(batch):
        batch = batch if whole else batch.take(np.asarray(kept, np.int64))
        batch = batch.drop_columns([name for name in added if name in batch.schema.names])
        for name, values in added.items():
            batch = batch.append_column(name, _as_arrow(name, values, of_patches=GRID in added))
        return batch
    if hasattr(batch, "assign"):  # a DataFrame
        frame = batch if whole else batch.iloc[kept]
        return frame.assign(**{name: list(values) for name, values in added.items()})
    if whole:
        return {**batch, **added}
    left = {
        name: values[kept] if isinstance(values, np.ndarray) else [values[row] for row in kept]
        for name, values in batch.items()
    }
    return {**left, **added}


def with_holes(batch: Any, kept: Sequence[int], added: Mapping[str, Any], reasons: Mapping[int, str]) -> Any:
    """All rows of a batch, with None for what a broken picture does not have, and a column `ERROR`: what is wrong.

    Columns hold objects, whichever rows are broken, so that all batches have the same types; pandas makes texts of its
    own of the reasons, and leaves out with NaN.

    Args:
        batch: a batch.
        kept: numbers of the rows that the columns `added` are about.
        added: columns, of the rows that are `kept`.
        reasons: number of each other row → what is wrong with its picture.
    """
    rows = range(len(kept) + len(reasons))
    filled = {}
    for name, values in added.items():
        of_row = dict(zip(kept, values, strict=True))
        filled[name] = _objects([of_row.get(row) for row in rows])
    filled[ERROR] = _objects([reasons.get(row) for row in rows])
    return with_columns(batch, rows, len(rows), filled)


def _is_arrow(batch: Any) -> bool:
    return hasattr(batch, "append_column")


def _as_arrow(name: str, values: Sequence[Any], *, of_patches: bool) -> Any:
    """The same type in each batch, also where all of it is None, or there is none."""
    import pyarrow

    vector = pyarrow.list_(pyarrow.float32())
    kinds = {ERROR: pyarrow.string(), GRID: pyarrow.list_(pyarrow.int32())}
    rows = [list(value) if np.ndim(value) == 2 else value for value in values]  # pyarrow takes arrays of one axis
    return pyarrow.array(rows, kinds.get(name, pyarrow.list_(vector) if of_patches else vector))


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), object)
    for row, value in enumerate(values):  # all at once, arrays of one length would become an array of two axes
        array[row] = value
    return array
