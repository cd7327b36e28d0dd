"""A confusion matrix as a picture: rows are what pictures are, columns what they were taken for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.shapes import NDArray
from aimv2_np.viz.drawing import need_matplotlib, short_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WRITTEN = 25  # classes up to which every number is written into its cell


@own_arithmetic()
def draw_confusion(classes: Sequence[str], confusion: NDArray) -> "Figure":
    """Shares of each row as shades, and the numbers where there is room for them.

    Raises ImportError where matplotlib is not installed; ValueError for a matrix that is not (classes, classes).
    """
    if confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"confusion has the shape {confusion.shape}; expected a row and a column for {len(classes)}")
    side = min(20.0, 2.5 + 0.4 * len(classes))
    figure: Figure = need_matplotlib().Figure(figsize=(side + 0.8, side), layout="constrained")
    ax = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shades = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    names = [short_title(name, 20) for name in classes]
    ax.set_xticks(range(len(classes)), names, rotation=90, fontsize=7, parse_math=False)
    ax.set_yticks(range(len(classes)), names, fontsize=7, parse_math=False)
    ax.set_xlabel("taken for")
    ax.set_ylabel("is")
    if len(classes) <= WRITTEN:
        for (row, column), count in np.ndenumerate(confusion):
            color = "black" if shares[row, column] > 0.5 else "white"
            ax.text(column, row, str(count), ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(shades, label="share of the row", shrink=0.8)
    return figure
