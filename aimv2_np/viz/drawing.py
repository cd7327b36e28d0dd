"""What all drawings have in common: matplotlib when it is there, panels in rows, patches as axes, one scale of colours.

Axes count patches: row 0 is at the top, column 0 at the left, and a picture covers the same square as its map.
"""

from collections.abc import Sequence
from importlib import import_module
from math import ceil
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.files.atomic import atomic_write
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.viz.seen import Seen, see
from aimv2_np.viz.towers import Floats, VisionModel, VisionProcessor, vision_tower_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SIDE, GAP, BAR, TITLE = 2.1, 0.45, 0.8, 0.75  # inches: a panel, between two, a scale of colours, title and axis
LEAST, WITH_SCALE = 0.7, 1.15  # inches: the shorter side of a panel, the gap where there is a scale of colours in it
COLUMNS = 4  # panels side by side
SMALL, LARGE = 7, 9  # points
MAP, COSINES = "viridis", "cividis"  # both read the same to colour-blind eyes and in grey
SIGNED = "PuOr_r"  # both sides of zero, told apart by colour-blind eyes too
EVEN = "attention (1: an even share)"  # an even share is what each patch would get if all got the same
OVER = 0.72  # how much a map covers of the picture beneath
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe & Ito 2008


class Drawing(NamedTuple):
    """What every `draw_…` function returns.

    Attributes:
        array: the numbers that are drawn; each function says which.
        figure: the matplotlib figure; `save_png` writes it to a file.
    """

    array: Any
    figure: "Figure"


def save_png(
    drawing: "Drawing | Figure", path: str | PathLike[str], overwrite: bool = False, software: str = "aimv2-np"
) -> None:
    """Write a drawing to `path` as a PNG that names `software` as its maker; FileExistsError unless `overwrite`."""
    figure = drawing.figure if isinstance(drawing, Drawing) else drawing
    with atomic_write(path, overwrite) as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": software})


def need_matplotlib() -> ModuleType:
    """`matplotlib.figure`, or an ImportError with the command that installs it."""
    try:
        # The figure alone: pyplot would look for a display and keep state.
        return import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError("drawing needs matplotlib, which is not installed: pip install 'aimv2-np[viz]'") from error


def look(model: VisionModel, processor: VisionProcessor, image: Any) -> tuple[Aimv2VisionModel, Seen]:
    """What a drawing of one picture begins with: the vision tower, and the picture as it sees it.

    Raises ImportError without matplotlib, before anything is computed; ValueError for a model without a vision tower,
    and what the image processor raises.
    """
    need_matplotlib()
    tower = vision_tower_of(model)
    return tower, see(tower, processor, [image])[0]


def panels(
    count: int, aspect: float = 1.0, columns: int = COLUMNS, side: float = SIDE, gap: float = GAP
) -> tuple["Figure", list["Axes"]]:
    """A figure with `count` empty panels whose height is `aspect` times their width, `columns` of them in a row.

    They stand `gap` inches apart: `WITH_SCALE` where each has a scale of colours of its own.
    """
    columns = min(columns, count)
    rows = ceil(count / columns)
    width, height = side * min(1.0, 1 / aspect), side * min(1.0, aspect)
    size = (columns * (max(width, LEAST) + gap) + BAR, rows * (max(height, LEAST) + TITLE))
    figure: Figure = need_matplotlib().Figure(figsize=size, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.06, h_pad=0.08)
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in grid[count:]:
        ax.remove()
    return figure, list(grid[:count])


def patch_axes(ax: "Axes", grid: tuple[int, int], title: str) -> None:
    """Axes in patches, with whole numbers, and a title that is taken as it is, whatever dollar signs it holds."""
    for axis, name, size in ((ax.xaxis, "patch column", grid[1]), (ax.yaxis, "patch row", grid[0])):
        axis.set_ticks(_ticks(size))
        axis.set_label_text(name, fontsize=SMALL)
    ax.tick_params(labelsize=SMALL, length=2)
    ax.set_title(title, fontsize=LARGE, parse_math=False)
    ax.set(xlim=(-0.5, grid[1] - 0.5), ylim=(grid[0] - 0.5, -0.5))


def show_picture(ax: "Axes", colors: NDArray[np.uint8], grid: tuple[int, int], title: str) -> None:
    """The picture itself."""
    ax.imshow(colors, extent=_extent(grid), interpolation="antialiased")
    patch_axes(ax, grid, title)


def show_map(
    ax: "Axes",
    values: NDArray[Any],
    title: str,
    *,
    over: NDArray[np.uint8] | None = None,
    limits: tuple[float, float] | None = None,
    cmap: str = MAP,
    root: bool = False,
) -> "AxesImage":
    """A number per patch (rows, columns) as colours, laid over the picture in grey where one is given.

    With `root` colours go by the square root, so that a single high number does not leave all others dark.
    """
    grid = (values.shape[0], values.shape[1])
    low, high = limits or (float(values.min()), float(values.max()))
    if over is not None:
        ax.imshow(over.mean(axis=2), extent=_extent(grid), cmap="gray", vmin=0, vmax=255)
    norm = import_module("matplotlib.colors").PowerNorm(0.5 if root else 1.0, low, max(high, low + 1e-12))
    alpha = None if over is None else OVER
    image = ax.imshow(values, extent=_extent(grid), cmap=cmap, norm=norm, alpha=alpha, interpolation="nearest")
    patch_axes(ax, grid, title)
    return image


def draw_maps(
    seen: Seen,
    title: str,
    maps: Sequence[tuple[str, Floats]],
    label: str,
    limits: tuple[float, float],
    *,
    cmap: str = MAP,
    root: bool = False,
    patch: tuple[int, int] | None = None,
) -> "Figure":
    """The picture, and over it in a panel for each map (title, (rows, columns)) its numbers, on one scale of colours.

    A frame is around `patch` in all panels, if one is given.
    """
    figure, axes = panels(len(maps) + 1, seen.grid[0] / seen.grid[1])
    show_picture(axes[0], seen.colors, seen.grid, title)
    for ax, (name, values) in zip(axes[1:], maps, strict=True):
        heat = show_map(ax, values, name, over=seen.colors, limits=limits, cmap=cmap, root=root)
    if patch is not None:
        for ax in axes:
            mark_patch(ax, patch)
    color_scale(figure, heat, axes, label)
    return figure


def show_shares(ax: "Axes", colors: NDArray[np.uint8], weights: Floats, title: str, what: str) -> None:
    """Weights (rows, columns) that sum to 1, relative to an even share, with a scale of their own; `what` they are."""
    shares = weights * weights.size
    heat = show_map(ax, shares, title, over=colors, limits=(0, float(shares.max())), root=True)
    figure: Any = ax.get_figure()
    color_scale(figure, heat, [ax], f"{what} (1: an even share)")


def mark_patch(ax: "Axes", patch: tuple[int, int]) -> None:
    """A frame around one patch, dark within light: it is seen on any colour."""
    row, column = patch
    x, y = np.array([-0.5, 0.5, 0.5, -0.5, -0.5]) + column, np.array([-0.5, -0.5, 0.5, 0.5, -0.5]) + row
    for color, width in (("white", 3.0), ("black", 1.2)):
        ax.plot(x, y, color=color, linewidth=width, solid_joinstyle="miter", clip_on=False)


def color_scale(figure: "Figure", image: "AxesImage", axes: Sequence["Axes"], label: str) -> None:
    """The scale of colours that `axes` share."""
    alone = len(axes) == 1
    bar = figure.colorbar(image, ax=list(axes), shrink=0.8 if alone else 0.9, aspect=20 if alone else 25, pad=0.02)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def line_axes(ax: "Axes", x: str, y: str, title: str) -> None:
    """Axes of a chart with lines over layers."""
    ax.xaxis.set_major_locator(import_module("matplotlib.ticker").MaxNLocator(integer=True))
    ax.set_xlabel(x, fontsize=SMALL + 1)
    ax.set_ylabel(y, fontsize=SMALL + 1)
    ax.set_title(title, fontsize=LARGE, parse_math=False)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)


def short_title(caption: str, limit: int = 30) -> str:
    """A caption as a title: one line of at most `limit` characters."""
    line = " ".join(caption.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _extent(grid: tuple[int, int]) -> tuple[float, float, float, float]:
    return -0.5, grid[1] - 0.5, grid[0] - 0.5, -0.5


def _ticks(size: int) -> list[int]:
    """About five whole numbers from 0 on."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, size) if size <= 6 * s or s == size)
    return list(range(0, size, step))
