"""What a patch has become: features as colours, and how alike the patches are.

    colours: the first three principal components of all patches of all pictures, as red, green and blue
    likeness: cos(x_n, x_m) = x_n · x_m / (‖x_n‖ ‖x_m‖)

Colours mean nothing by themselves; equal ones say that the network makes the same of two patches, across pictures too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.shapes import Array, Float
from aimv2_np.viz.drawing import (
    COSINES,
    Drawing,
    color_scale,
    mark_patch,
    need_matplotlib,
    panels,
    show_map,
    show_picture,
)
from aimv2_np.viz.seen import see
from aimv2_np.viz.towers import check_patch, grid_of, vision_tower

RANGE = (1.0, 99.0)  # percentiles that become 0 and 1: a single odd patch does not make all others grey


class Components(NamedTuple):
    """Principal components of rows (M, D): their mean (D,), axes (count, D), and coordinates (M, count)."""

    mean: NDArray[np.floating[Any]]
    axes: NDArray[np.floating[Any]]
    coordinates: NDArray[np.floating[Any]]


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


def patch_colors(features: Sequence[Float[Array, "N D"]]) -> list[NDArray[np.floating[Any]]]:
    """Colours (N, 3) from 0 to 1 for the patches of several pictures, in one space that they share.

    Each component is stretched such that its 1st and 99th percentile over all patches become 0 and 1; one along which
    nothing varies is 0.5 everywhere.
    """
    tokens = [to_numpy(widen(it)) for it in features]
    coordinates = principal_components(np.concatenate(tokens)).coordinates
    low, high = np.percentile(coordinates, RANGE, axis=0)
    flat = high - low <= 0
    colors = np.where(flat, 0.5, np.clip((coordinates - low) / np.where(flat, 1, high - low), 0, 1))
    return np.split(colors, np.cumsum([len(it) for it in tokens])[:-1])


def patch_similarity(
    model: Aimv2Model | Aimv2VisionModel,
    pixel_values: Any,
    patch: tuple[int, int],
    *,
    interpolate_pos_encoding: bool = False,
) -> NDArray[np.floating[Any]]:
    """The cosine of every patch's last hidden state with that of one patch: (B, rows, columns).

    Args:
        pixel_values, interpolate_pos_encoding: as the model takes them.
        patch: (row, column), from (0, 0) at the top left; ValueError when there is none.
    """
    tower = vision_tower(model)
    tokens = tower(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding).last_hidden_state
    grid = grid_of(tower, pixel_values)
    row, column = check_patch(grid, patch)
    unit = l2_normalize(widen(tokens))  # (B, N, D)
    cosines = unit @ unit[:, row * grid[1] + column, :, None]  # (B, N, 1)
    return to_numpy(cosines).reshape(-1, *grid)


def draw_patch_colors(
    model: Aimv2Model | Aimv2VisionModel, processor: Aimv2Processor | Aimv2ImageProcessor, images: Sequence[Any]
) -> Drawing:
    """Each picture and its patches' features as colours, all in one space. The array: a list of (rows, columns, 3)."""
    need_matplotlib()
    tower = vision_tower(model)
    seen = see(tower, processor, images)
    grids = [grid_of(tower, it.pixel_values) for it in seen]
    colors = patch_colors([tower(it.pixel_values).last_hidden_state[0] for it in seen])
    maps = [it.reshape(*grid, 3) for it, grid in zip(colors, grids, strict=True)]
    figure, axes = panels(2 * len(seen), max(rows / columns for rows, columns in grids))
    for i, (picture, grid, rgb) in enumerate(zip(seen, grids, maps, strict=True)):
        show_picture(axes[2 * i], picture.colors, grid, f"picture {i}")
        show_picture(axes[2 * i + 1], np.rint(255 * rgb).astype(np.uint8), grid, "features as colours")
        axes[2 * i + 1].images[0].set_interpolation("nearest")
    return Drawing(maps, figure)


def draw_patch_similarity(
    model: Aimv2Model | Aimv2VisionModel,
    processor: Aimv2Processor | Aimv2ImageProcessor,
    image: Any,
    patch: tuple[int, int] | None = None,
) -> Drawing:
    """The picture with a patch marked (by default the one in the middle) and how alike the others' features are."""
    need_matplotlib()
    tower = vision_tower(model)
    (seen,) = see(tower, processor, [image])
    grid = grid_of(tower, seen.pixel_values)
    patch = check_patch(grid, patch)
    cosines = patch_similarity(tower, seen.pixel_values, patch)[0]
    figure, axes = panels(2, grid[0] / grid[1])
    show_picture(axes[0], seen.colors, grid, f"patch {patch[0]}, {patch[1]}")
    heat = show_map(
        axes[1], cosines, "patches like it", over=seen.colors, limits=(float(cosines.min()), 1), cmap=COSINES
    )
    for ax in axes:
        mark_patch(ax, patch)
    color_scale(figure, heat, axes, "cosine of features")
    return Drawing(cosines, figure)
