"""Features of patches: as colours, and how alike they are.

    colours: the first three principal components of all patches of all pictures, as red, green and blue
    likeness: cos(x_n, x_m) = x_n · x_m / (‖x_n‖ ‖x_m‖)

Colours mean nothing by themselves; equal ones say that the network makes the same of two patches, across pictures too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.shapes import Array, Float
from aimv2_np.viz.drawing import COSINES, Drawing, draw_maps, look, need_matplotlib, panels, show_picture
from aimv2_np.viz.seen import see
from aimv2_np.viz.towers import Floats, VisionModel, VisionProcessor, check_patch, grid_of, vision_tower_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANGE = (1.0, 99.0)  # percentiles that become 0 and 1: a single odd patch does not make all others grey


class Components(NamedTuple):
    """Principal components of rows (M, D): their mean (D,), axes (count, D), and coordinates (M, count)."""

    mean: Floats
    axes: Floats
    coordinates: Floats


@own_arithmetic()
def principal_components(rows: Float[Array, "M D"], count: int = 3) -> Components:
    """The axes along which rows vary most, by the eigenvectors of their covariance, in float64.

    Of the two directions of an axis it is the one whose largest coordinate is positive: the same in every run. Where
    rows vary along fewer than `count` axes, the others are zero.
    """
    wide = to_numpy(rows).astype(np.float64)
    mean = wide.mean(axis=0)
    centred = wide - mean
    values, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = np.zeros((count, wide.shape[1]))
    kept = min(count, len(values))
    axes[:kept] = vectors.T[::-1][:kept]
    # Beyond rounding, there is no variation: rows that are all the same have no axes.
    axes[:kept][values[::-1][:kept] <= np.finfo(np.float64).eps * len(values) * max(values[-1], (wide**2).sum())] = 0
    signs = np.sign(np.take_along_axis(axes, abs(axes).argmax(axis=1, keepdims=True), axis=1))
    axes *= np.where(signs == 0, 1, signs)
    return Components(mean, axes, centred @ axes.T)


@own_arithmetic()
def patch_colors(features: Sequence[Float[Array, "N D"]]) -> list[Floats]:
    """Colours (N, 3) from 0 to 1 for the patches of several pictures, in one space that they share.

    Each component is stretched such that its 1st and 99th percentile over all patches become 0 and 1; one along which
    nothing varies is 0.5 everywhere.
    """
    tokens = [to_numpy(widen(of_picture)) for of_picture in features]
    coordinates = principal_components(np.concatenate(tokens)).coordinates
    low, high = np.percentile(coordinates, RANGE, axis=0)
    flat = high - low <= 0
    colors = np.where(flat, 0.5, np.clip((coordinates - low) / np.where(flat, 1, high - low), 0, 1))
    return np.split(colors, np.cumsum([len(of_picture) for of_picture in tokens])[:-1])


@own_arithmetic()
def patch_similarity(
    model: VisionModel, pixel_values: Any, patch: tuple[int, int], *, interpolate_pos_encoding: bool = False
) -> Floats:
    """The cosine of every patch's last hidden state with that of one patch: (B, rows, columns).

    Args:
        pixel_values, interpolate_pos_encoding: as the model takes them.
        patch: (row, column), from (0, 0) at the top left; ValueError when there is none.
    """
    tower = vision_tower_of(model)
    tokens = tower(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding).last_hidden_state
    grid = grid_of(tower, pixel_values)
    row, column = check_patch(grid, patch)
    unit = l2_normalize(widen(tokens))  # (B, N, D)
    cosines = unit @ unit[:, row * grid[1] + column, :, None]  # (B, N, 1)
    return to_numpy(cosines).reshape(-1, *grid)


def show_colors(ax: "Axes", colors: Floats, grid: tuple[int, int]) -> None:
    """One picture's colours (N, 3), as from `patch_colors`, a square for each patch."""
    show_picture(ax, np.rint(255 * colors.reshape(*grid, 3)).astype(np.uint8), grid, "features as colours")
    ax.images[0].set_interpolation("nearest")


@own_arithmetic()
def draw_patch_colors(model: VisionModel, processor: VisionProcessor, images: Sequence[Any]) -> Drawing:
    """Each picture and its patches' features as colours, all in one space. The array: a list of (rows, columns, 3)."""
    need_matplotlib()
    tower = vision_tower_of(model)
    pictures = see(tower, processor, images)
    colors = patch_colors([tower(seen.pixel_values).last_hidden_state[0] for seen in pictures])
    figure, axes = panels(2 * len(pictures), max(seen.grid[0] / seen.grid[1] for seen in pictures))
    for i, (seen, of_picture) in enumerate(zip(pictures, colors, strict=True)):
        show_picture(axes[2 * i], seen.colors, seen.grid, f"picture {i}")
        show_colors(axes[2 * i + 1], of_picture, seen.grid)
    return Drawing(
        [of_picture.reshape(*seen.grid, 3) for seen, of_picture in zip(pictures, colors, strict=True)], figure
    )


@own_arithmetic()
def draw_patch_similarity(
    model: VisionModel, processor: VisionProcessor, image: Any, patch: tuple[int, int] | None = None
) -> Drawing:
    """The picture with a patch marked (by default the one in the middle) and how alike the others' features are."""
    tower, seen = look(model, processor, image)
    patch = check_patch(seen.grid, patch)
    cosines = patch_similarity(tower, seen.pixel_values, patch)[0]
    title, maps, limits = f"patch {patch[0]}, {patch[1]}", [("patches like it", cosines)], (float(cosines.min()), 1.0)
    return Drawing(cosines, draw_maps(seen, title, maps, "cosine of features", limits, cmap=COSINES, patch=patch))
