"""Where a patch looks: the attention of one layer from one patch to all others.

    a_hm = softmax_m(q_hn · k_hm / √d)        h: heads, n: the patch that looks, m: the patches that it looks at

Only queries and keys of that layer are recorded, and only the rows that are asked for are computed: never all of the
N x N numbers of each head and layer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.attention import softmax
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.trace import trace
from aimv2_np.viz.drawing import Drawing, color_scale, mark_patch, need_matplotlib, panels, show_map, show_picture
from aimv2_np.viz.seen import see
from aimv2_np.viz.towers import check_head, check_layer, check_patch, grid_of, vision_tower


def attention_rows(q: Float[Array, "B H n d"], k: Float[Array, "B H M d"]) -> Float[Array, "B H n M"]:
    """softmax(q kᵀ / √d): the attention of these queries to all keys; float16 is computed in float32."""
    return softmax(q.shape[-1] ** -0.5 * (widen(q) @ widen(k).swapaxes(-1, -2)))


def run_with_attention(
    tower: Aimv2VisionModel,
    pixel_values: Any,
    layers: Sequence[int],
    take: Callable[[int, Float[Array, "B H N d"], Float[Array, "B H N d"]], None],
    **options: Any,
) -> Float[Array, "B N D"]:
    """Run the tower, hand (layer, q, k) of each of `layers` to `take` as they come, and return `last_hidden_state`."""
    names = {f"encoder.layers.{i}.attention.{name}": (i, name) for i in layers for name in "qk"}
    waiting: dict[int, Array] = {}

    def store(path: str, array: Array) -> None:
        layer, name = names[path]
        if name == "q":
            waiting[layer] = array
        else:
            take(layer, waiting.pop(layer), array)

    with trace(tower, tuple(names), store=store):
        return tower(pixel_values, **options).last_hidden_state


def patch_attention(
    model: Aimv2Model | Aimv2VisionModel,
    pixel_values: Any,
    patch: tuple[int, int],
    layer: int = -1,
    *,
    interpolate_pos_encoding: bool = False,
) -> NDArray[np.floating[Any]]:
    """Where one patch looks in one layer: (B, H, rows, columns), a map for each head that sums to 1.

    Args:
        pixel_values, interpolate_pos_encoding: as the model takes them.
        patch: (row, column) of the patch that looks, from (0, 0) at the top left.
        layer: which block, from 0; -1 is the last.

    Raises:
        ValueError: no such layer or patch, and whatever the model raises.
    """
    tower = vision_tower(model)
    layer = check_layer(tower, layer)
    grid, rows = (0, 0), []

    def take(_: int, q: Array, k: Array) -> None:
        nonlocal grid
        grid = grid_of(tower, pixel_values)
        row, column = check_patch(grid, patch)
        n = row * grid[1] + column
        rows.append(attention_rows(q[:, :, n : n + 1], k)[:, :, 0])

    run_with_attention(tower, pixel_values, [layer], take, interpolate_pos_encoding=interpolate_pos_encoding)
    weights = to_numpy(rows[0])
    return weights.reshape(*weights.shape[:2], *grid)


def by_head(
    weights: NDArray[np.floating[Any]], head: int | None
) -> tuple[NDArray[np.floating[Any]], list[tuple[str, NDArray[np.floating[Any]]]]]:
    """Of weights (H, …) those to draw, with titles: the mean and each head, or one head, which alone is kept."""
    if head is None:
        return weights, [
            ("mean of the heads", weights.mean(axis=0)),
            *((f"head {h}", it) for h, it in enumerate(weights)),
        ]
    head = check_head(len(weights), head)
    return weights[head : head + 1], [(f"head {head}", weights[head])]


def draw_patch_attention(
    model: Aimv2Model | Aimv2VisionModel,
    processor: Aimv2Processor | Aimv2ImageProcessor,
    image: Any,
    patch: tuple[int, int] | None = None,
    layer: int = -1,
    head: int | None = None,
) -> Drawing:
    """The picture with the patch marked, then where it looks: on average and with each head, or with one head only.

    The colours are attention relative to an even share: 1 is what a patch would get if all got the same. The array is
    (H, rows, columns), or (1, rows, columns) with `head`.

    Args:
        image: a picture in a form that the image processor takes.
        patch, layer: as for `patch_attention`; by default the patch in the middle.
        head: which head, from 0; None for all of them.
    """
    need_matplotlib()
    tower = vision_tower(model)
    layer = check_layer(tower, layer)
    (seen,) = see(tower, processor, [image])
    grid = grid_of(tower, seen.pixel_values)
    patch = check_patch(grid, patch)
    weights = patch_attention(tower, seen.pixel_values, patch, layer)[0]  # (H, rows, columns)
    weights, shown = by_head(weights, head)
    figure, axes = panels(len(shown) + 1, grid[0] / grid[1])
    show_picture(axes[0], seen.colors, grid, f"patch {patch[0]}, {patch[1]} in layer {layer}")
    mark_patch(axes[0], patch)
    highest = max(float(it.max()) for _, it in shown) * weights[0].size
    for ax, (title, it) in zip(axes[1:], shown, strict=True):
        heat = show_map(ax, it * it.size, title, over=seen.colors, limits=(0, highest), root=True)
        mark_patch(ax, patch)
    color_scale(figure, heat, axes, "attention (1: an even share)")
    return Drawing(weights, figure)
