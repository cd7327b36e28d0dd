"""Where a patch looks: the attention of one layer from one patch to all others.

    a_hm = softmax_m(q_hn · k_hm / √d)        h: heads, n: the patch that looks, m: the patches that it looks at

Only queries and keys of that layer are recorded, and only the rows that are asked for are computed: never all of the
N x N numbers of each head and layer.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.attention import softmax
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.trace import trace
from aimv2_np.viz import towers
from aimv2_np.viz.drawing import EVEN, Drawing, draw_maps, look
from aimv2_np.viz.towers import Floats, VisionModel, VisionProcessor

Take = Callable[[int, Array, Array], None]  # (layer, queries, keys) of that layer, (B, H, N, d) each
TakeValues = Callable[[int, Array], None]  # (layer, values of that layer), after its queries and keys


@own_arithmetic()
def attention_rows(q: Float[Array, "B H n d"], k: Float[Array, "B H M d"]) -> Float[Array, "B H n M"]:
    """softmax(q kᵀ / √d): the attention of these queries to all keys; float16 is computed in float32."""
    return softmax(q.shape[-1] ** -0.5 * (widen(q) @ widen(k).swapaxes(-1, -2)))


def run_with_attention(
    tower: Aimv2VisionModel,
    pixel_values: Any,
    layers: Sequence[int],
    take: Take,
    take_values: TakeValues | None = None,
    **options: Any,
) -> Float[Array, "B N D"]:
    """Run the tower, hand (layer, q, k) of each of `layers` to `take` as they come, and return `last_hidden_state`.

    `take_values` gets (layer, v), each after its layer's queries and keys.
    """
    wanted = "qk" if take_values is None else "qkv"
    names = {f"encoder.layers.{i}.attention.{name}": (i, name) for i in layers for name in wanted}
    waiting: dict[int, Array] = {}

    def store(path: str, array: Array) -> None:
        layer, name = names[path]
        if name == "q":
            waiting[layer] = array
        elif name == "k":
            take(layer, waiting.pop(layer), array)
        elif take_values is not None:
            take_values(layer, array)

    with trace(tower, tuple(names), store=store):
        return tower(pixel_values, **options).last_hidden_state


@own_arithmetic()
def patch_attention(
    model: VisionModel,
    pixel_values: Any,
    patch: tuple[int, int],
    layer: int = -1,
    *,
    interpolate_pos_encoding: bool = False,
) -> Floats:
    """Where one patch looks in one layer: (B, H, rows, columns), a map for each head that sums to 1.

    Args:
        pixel_values, interpolate_pos_encoding: as the model takes them.
        patch: (row, column) of the patch that looks, from (0, 0) at the top left.
        layer: which layer, from 0; -1 is the last.

    Raises:
        ValueError: no such layer or patch, and whatever the model raises.
    """
    tower = towers.vision_tower_of(model)
    layer = towers.check_layer(tower, layer)
    grid, rows = (0, 0), []

    def take(_: int, q: Array, k: Array) -> None:
        nonlocal grid
        grid = towers.grid_of(tower, pixel_values)
        row, column = towers.check_patch(grid, patch)
        n = row * grid[1] + column
        rows.append(attention_rows(q[:, :, n : n + 1], k)[:, :, 0])

    run_with_attention(tower, pixel_values, [layer], take, interpolate_pos_encoding=interpolate_pos_encoding)
    weights = to_numpy(rows[0])
    return weights.reshape(*weights.shape[:2], *grid)


def by_head(weights: Floats, head: int | None) -> tuple[Floats, list[tuple[str, Floats]]]:
    """Of weights (H, …) those to draw, with titles: the mean and each head, or one head, which alone is kept."""
    if head is None:
        heads = [(f"head {h}", of_head) for h, of_head in enumerate(weights)]
        return weights, [("mean of the heads", weights.mean(axis=0)), *heads]
    head = towers.check_number(head, len(weights), "head")
    return weights[head : head + 1], [(f"head {head}", weights[head])]


@own_arithmetic()
def draw_patch_attention(
    model: VisionModel,
    processor: VisionProcessor,
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
    tower, seen = look(model, processor, image)
    layer, patch = towers.check_layer(tower, layer), towers.check_patch(seen.grid, patch)
    weights, shown = by_head(patch_attention(tower, seen.pixel_values, patch, layer)[0], head)
    shares = [(title, of_head * of_head.size) for title, of_head in shown]
    limits = (0.0, max(float(share.max()) for _, share in shares))
    title = f"patch {patch[0]}, {patch[1]} in layer {layer}"
    return Drawing(weights, draw_maps(seen, title, shares, EVEN, limits, root=True, patch=patch))
