"""Attention rollout: how attention adds up over all layers, the residual stream counted in.

    R = Ã_L · … · Ã_2 · Ã_1,    Ã_l = ½ · (mean_h A_lh + I)

Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers" (arXiv:2005.00928), section 3. Row n says from which
patches the last layer's token n was mixed, if values, projections and MLPs changed nothing but amounts: a bookkeeping
of attention, no measure of what caused an output.
"""

from typing import Any

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import namespace, to_numpy
from aimv2_np.shapes import Array, Float, NDArray
from aimv2_np.viz.attention import attention_rows, run_with_attention
from aimv2_np.viz.drawing import WITH_SCALE, Drawing, look, mark_patch, panels, show_picture, show_shares
from aimv2_np.viz.pooling import pooling_weights
from aimv2_np.viz.towers import VisionModel, VisionProcessor, check_patch, vision_tower_of


class Rollout:
    """The product so far, (B, N, N), to which layers are added one by one: no more than one layer is held."""

    def __init__(self) -> None:
        self.product: Any = None

    def add(self, q: Float[Array, "B H N d"], k: Float[Array, "B H N d"]) -> None:
        """Multiply by the next layer, given its queries and keys; head by head, never (B, H, N, N)."""
        heads = q.shape[1]
        self.add_mean(sum(attention_rows(q[:, h : h + 1], k[:, h : h + 1])[:, 0] for h in range(heads)) / heads)

    def add_mean(self, attention: Float[Array, "B N N"]) -> None:
        """Multiply by the next layer, given the mean of its heads' attention."""
        xp = namespace(attention)
        mixed = 0.5 * (attention + xp.eye(attention.shape[-1], dtype=attention.dtype))
        self.product = mixed if self.product is None else mixed @ self.product


@own_arithmetic()
def attention_rollout(model: VisionModel, pixel_values: Any, *, interpolate_pos_encoding: bool = False) -> NDArray:
    """The rollout over all layers: (B, N, N), row n for the patch that looks; each row sums to 1.

    Takes `pixel_values` and `interpolate_pos_encoding` as the model does, and raises what it raises.
    """
    tower, rollout = vision_tower_of(model), Rollout()
    layers = range(len(tower.encoder.layers))
    run_with_attention(
        tower, pixel_values, layers, lambda _, q, k: rollout.add(q, k),
        interpolate_pos_encoding=interpolate_pos_encoding,
    )  # fmt: skip
    return to_numpy(rollout.product)


@own_arithmetic()
def draw_attention_rollout(
    model: VisionModel, processor: VisionProcessor, image: Any, patch: tuple[int, int] | None = None
) -> Drawing:
    """The picture, the rollout from one patch, and from the picture's vector: that of the head, or else the mean.

    The array is the rollout (N, N) of this picture. Arguments as for `draw_patch_attention`.
    """
    (tower, seen), rollout = look(model, processor, image), Rollout()
    row, column = patch = check_patch(seen.grid, patch)
    layers = range(len(tower.encoder.layers))
    tokens = run_with_attention(tower, seen.pixel_values, layers, lambda _, q, k: rollout.add(q, k))
    product = to_numpy(rollout.product)[0]  # (N, N)
    pooled = pooling_weights(tower, tokens)[0].mean(axis=0) @ product if tower.head else product.mean(axis=0)
    source = "from the pooling head" if tower.head else "from the mean of all"
    figure, axes = panels(3, seen.grid[0] / seen.grid[1], gap=WITH_SCALE)
    show_picture(axes[0], seen.colors, seen.grid, "attention rollout")
    of_patch = product[row * seen.grid[1] + column]
    for ax, weights, title in ((axes[1], of_patch, f"from patch {row}, {column}"), (axes[2], pooled, source)):
        show_shares(ax, seen.colors, weights.reshape(seen.grid), title, "share")
    for ax in axes[:2]:
        mark_patch(ax, patch)
    return Drawing(product, figure)
