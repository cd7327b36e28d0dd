"""All that can be shown of one picture on one sheet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.shapes import Array
from aimv2_np.viz import drawing, towers
from aimv2_np.viz.attention import attention_rows
from aimv2_np.viz.captions import limits_of
from aimv2_np.viz.explanation import Explanation, explain
from aimv2_np.viz.features import patch_colors, show_colors
from aimv2_np.viz.rollout import Rollout

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@own_arithmetic()
def draw_explanation(
    model: towers.VisionModel,
    processor: towers.VisionProcessor,
    image: Any,
    captions: Sequence[str] = (),
    patch: tuple[int, int] | None = None,
    layer: int = -1,
    head: int | None = None,
) -> drawing.Drawing:
    """Features as colours, one patch's neighbours, attention and rollout, the pooling head, and captions.

    The array is the `Explanation`. Arguments as for `draw_patch_attention`; ValueError as for `explain`.
    """
    drawing.need_matplotlib()
    tower = towers.vision_tower_of(model)
    layer = towers.check_layer(tower, layer)
    head = None if head is None else towers.check_number(head, tower.config.num_attention_heads, "head")
    rollout, kept = Rollout(), {}

    def take(i: int, q: Array, k: Array) -> None:
        rollout.add(q, k)
        if i == layer:
            kept["q"], kept["k"] = q, k

    found = explain(model, processor, image, captions, take)
    row, column = towers.check_patch(found.grid, patch)
    n = row * found.grid[1] + column
    weights = to_numpy(attention_rows(kept["q"][:, :, n : n + 1], kept["k"]))[0, :, 0]  # (H, N)
    title = f"layer {layer}, {'mean of the heads' if head is None else f'head {head}'}"
    shares = [
        (title, weights.mean(axis=0) if head is None else weights[head], "attention"),
        ("rollout", to_numpy(rollout.product)[0, n], "share"),
    ]
    return drawing.Drawing(found, _draw(found, (row, column), shares))


def _draw(found: Explanation, patch: tuple[int, int], shares: Sequence[tuple[str, towers.Floats, str]]) -> "Figure":
    """All panels; `shares` are those of the patch, each a title, weights (N,) and what they are."""
    grid, marked = found.grid, len(shares) + 2
    if found.pooling is not None:
        shares = [*shares, ("the pooling head", found.pooling.mean(axis=0), "attention")]
    figure, axes = drawing.panels(3 + len(shares) + len(found.captions), grid[0] / grid[1], gap=drawing.WITH_SCALE)
    upcoming = iter(axes)

    def show(values: towers.Floats, title: str, label: str, limits: tuple[float, float], cmap: str) -> None:
        ax = next(upcoming)
        heat = drawing.show_map(ax, values.reshape(grid), title, over=found.colors, limits=limits, cmap=cmap)
        drawing.color_scale(figure, heat, [ax], label)

    drawing.show_picture(next(upcoming), found.colors, grid, f"patch {patch[0]}, {patch[1]}")
    show_colors(next(upcoming), patch_colors([found.tokens])[0], grid)
    unit = l2_normalize(found.tokens)
    near = unit @ unit[patch[0] * grid[1] + patch[1]]
    show(near, "patches like it", "cosine", (float(near.min()), float(near.max())), drawing.COSINES)
    for title, weights, what in shares:
        drawing.show_shares(next(upcoming), found.colors, weights.reshape(grid), title, what)
    for caption, probability, parts in zip(found.captions, found.probabilities, found.contributions, strict=True):
        title = f"{drawing.short_title(caption, 24)} ({100 * probability:.1f} %)"
        show(parts, title, "part of the cosine", limits_of(found.contributions, drawing.SIGNED), drawing.SIGNED)
    for ax in (axes[0], *axes[2 : marked + 1]):
        drawing.mark_patch(ax, patch)
    return figure
