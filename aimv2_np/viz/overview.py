"""All that can be shown of one picture on one sheet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.shapes import Array
from aimv2_np.viz.attention import attention_rows
from aimv2_np.viz.captions import limits_of
from aimv2_np.viz.drawing import (
    COSINES,
    SIGNED,
    WITH_SCALE,
    Drawing,
    color_scale,
    mark_patch,
    need_matplotlib,
    panels,
    shortened,
    show_map,
    show_picture,
    show_shares,
)
from aimv2_np.viz.explanation import Explanation, explain
from aimv2_np.viz.features import patch_colors, show_colors
from aimv2_np.viz.rollout import Rollout
from aimv2_np.viz.towers import (
    Floats,
    VisionModel,
    VisionProcessor,
    check_head,
    check_layer,
    check_patch,
    vision_tower,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_explanation(
    model: VisionModel,
    processor: VisionProcessor,
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
    shares = [
        (title, weights.mean(axis=0) if head is None else weights[head], "attention"),
        ("rollout", to_numpy(rollout.product)[0, n], "share"),
    ]
    return Drawing(found, _draw(found, (row, column), shares))


def _draw(found: Explanation, patch: tuple[int, int], shares: Sequence[tuple[str, Floats, str]]) -> "Figure":
    """All panels; `shares` are those of the patch, each a title, weights (N,) and what they are."""
    grid, marked = found.grid, len(shares) + 2
    if found.pooling is not None:
        shares = [*shares, ("the pooling head", found.pooling.mean(axis=0), "attention")]
    figure, axes = panels(3 + len(shares) + len(found.captions), grid[0] / grid[1], gap=WITH_SCALE)
    upcoming = iter(axes)

    def show(values: Floats, title: str, label: str, limits: tuple[float, float], cmap: str) -> None:
        ax = next(upcoming)
        heat = show_map(ax, values.reshape(grid), title, over=found.colors, limits=limits, cmap=cmap)
        color_scale(figure, heat, [ax], label)

    show_picture(next(upcoming), found.colors, grid, f"patch {patch[0]}, {patch[1]}")
    show_colors(next(upcoming), patch_colors([found.tokens])[0], grid)
    unit = l2_normalize(found.tokens)
    near = unit @ unit[patch[0] * grid[1] + patch[1]]
    show(near, "patches like it", "cosine", (float(near.min()), float(near.max())), COSINES)
    for title, weights, what in shares:
        show_shares(next(upcoming), found.colors, weights.reshape(grid), title, what)
    for caption, probability, parts in zip(found.captions, found.probabilities, found.contributions, strict=True):
        title = f"{shortened(caption, 24)} ({100 * probability:.1f} %)"
        show(parts, title, "part of the cosine", limits_of(found.contributions, SIGNED), SIGNED)
    for ax in (axes[0], *axes[2 : marked + 1]):
        mark_patch(ax, patch)
    return figure
