"""All that can be shown of one picture on one sheet."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.shapes import Array
from aimv2_np.viz.attention import attention_rows
from aimv2_np.viz.captions import limits_of, shortened
from aimv2_np.viz.drawing import (
    COSINES,
    MAP,
    SIGNED,
    WITH_SCALE,
    Drawing,
    color_scale,
    mark_patch,
    need_matplotlib,
    panels,
    show_map,
    show_picture,
)
from aimv2_np.viz.explanation import Explanation, explain
from aimv2_np.viz.features import patch_colors
from aimv2_np.viz.rollout import Rollout
from aimv2_np.viz.towers import check_head, check_layer, check_patch, vision_tower


class _Panel(NamedTuple):
    title: str
    values: NDArray[Any]  # (N,)
    label: str
    cmap: str = MAP
    marked: bool = False


def draw_explanation(
    model: Aimv2Model | Aimv2VisionModel,
    processor: Aimv2Processor | Aimv2ImageProcessor,
    image: Any,
    captions: Sequence[str] = (),
    patch: tuple[int, int] | None = None,
    layer: int = -1,
    head: int | None = None,
) -> Drawing:
    """Features as colours, one patch's neighbours, attention and rollout, the pooling head, and captions.

    The array is the `Explanation`. Arguments as for `draw_patch_attention`; ValueError as for `explain`.
    """
    need_matplotlib()
    tower = vision_tower(model)
    layer = check_layer(tower, layer)
    head = None if head is None else check_head(tower.encoder.layers[layer].attention.heads, head)
    rollout, kept = Rollout(), {}

    def take(i: int, q: Array, k: Array) -> None:
        rollout.add(q, k)
        if i == layer:
            kept["q"], kept["k"] = q, k

    found = explain(model, processor, image, captions, take)
    row, column = check_patch(found.grid, patch)
    n = row * found.grid[1] + column
    weights = to_numpy(attention_rows(kept["q"][:, :, n : n + 1], kept["k"]))[0, :, 0]  # (H, N)
    title = f"layer {layer}, {'mean of the heads' if head is None else f'head {head}'}"
    looks = _Panel(title, weights.mean(axis=0) if head is None else weights[head], "attention", marked=True)
    flows = _Panel("rollout", to_numpy(rollout.product)[0, n], "share", marked=True)
    unit = l2_normalize(found.tokens)
    near = _Panel("patches like it", unit @ unit[n], "cosine", COSINES, marked=True)
    return Drawing(found, _draw(found, (row, column), [near, looks, flows, *_of_the_picture(found)]))


def _of_the_picture(found: Explanation) -> Iterator[_Panel]:
    if found.pooling is not None:
        yield _Panel("the pooling head", found.pooling.mean(axis=0), "attention")
    for caption, probability, parts in zip(found.captions, found.probabilities, found.contributions, strict=True):
        yield _Panel(f"{shortened(caption, 24)} ({100 * probability:.1f} %)", parts, "part of the cosine", SIGNED)


def _draw(found: Explanation, patch: tuple[int, int], shown: Sequence[_Panel]) -> Any:
    grid = found.grid
    figure, axes = panels(len(shown) + 2, grid[0] / grid[1], gap=WITH_SCALE)
    show_picture(axes[0], found.colors, grid, f"patch {patch[0]}, {patch[1]}")
    mark_patch(axes[0], patch)
    (colors,) = patch_colors([found.tokens])
    show_picture(axes[1], np.rint(255 * colors.reshape(*grid, 3)).astype(np.uint8), grid, "features as colours")
    axes[1].images[0].set_interpolation("nearest")
    captions = limits_of(found.contributions, SIGNED) if found.captions else (0.0, 1.0)
    for ax, panel in zip(axes[2:], shown, strict=True):
        relative = panel.cmap == MAP  # attention and rollout, relative to an even share
        values = (panel.values * len(panel.values) if relative else panel.values).reshape(grid)
        limits = captions if panel.cmap == SIGNED else (0.0 if relative else float(values.min()), float(values.max()))
        heat = show_map(ax, values, panel.title, over=found.colors, limits=limits, cmap=panel.cmap, root=relative)
        color_scale(figure, heat, [ax], f"{panel.label} (1: an even share)" if relative else panel.label)
        if panel.marked:
            mark_patch(ax, patch)
    return figure
