"""Curves of a training: the loss and what it is made of, the rate, and the length of the gradient."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aimv2_np.shapes import NDArray
from aimv2_np.training.log import CURVES, FILE, read
from aimv2_np.viz.drawing import SERIES, need_matplotlib, save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_LOSSES = ("step", "rate", "norm", "scale", "skipped", "seconds")
WINDOW = 100  # parts of the steps over which a smooth curve is the mean


def draw_curves(lines: Sequence[Mapping[str, float]]) -> "Figure":
    """A panel for the numbers of the task, one for the rate and one for the gradient; `lines` are those of the log.

    Raises ImportError where matplotlib is not installed, ValueError without lines.
    """
    if not lines:
        raise ValueError("lines is empty; expected the lines of a log, of one step at least")
    figure: Figure = need_matplotlib().Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subfigures(2, height_ratios=(2, 1))
    steps = np.array([line["step"] for line in lines])
    losses = upper.add_subplot()
    for color, name in zip(SERIES, (name for name in lines[0] if name not in NO_LOSSES), strict=False):
        values = np.array([line[name] for line in lines])
        losses.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        losses.plot(steps, smooth(values), color=color, label=name)
    losses.set_xlabel("step")
    losses.legend()
    for ax, name, title in zip(lower.subplots(1, 2), ("rate", "norm"), ("rate", "length of the gradient"), strict=True):
        ax.plot(steps, [line[name] for line in lines], color=SERIES[-1], linewidth=1)
        ax.set_xlabel("step")
        ax.set_title(title, fontsize=10)
    return figure


def smooth(values: NDArray) -> NDArray:
    """At each step the mean over the last hundredth of all steps."""
    window = max(1, len(values) // WINDOW)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    means: NDArray = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def save_curves(folder: Path) -> Path:
    """Draw the log of a training folder into it."""
    path = folder / CURVES
    save_png(draw_curves(read(folder / FILE)), path, overwrite=True)
    return path
