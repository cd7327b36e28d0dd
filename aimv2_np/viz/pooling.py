"""Where the pooling head looks: the weights with which it mixes the patches into one vector per picture.

    a_hn = softmax_n(q_h · k_hn / √d)        h: heads, n: patches; q is the learned `cls_token`

The head is the last step of the vision tower, so these weights are the whole of what it does with the patches. A patch
has exchanged information with all others by then: the map shows where the vector was read, not where it came from.
"""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import beside, to_numpy, widen
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.trace import trace
from aimv2_np.viz.drawing import EVEN, SMALL, Drawing, color_scale, need_matplotlib
from aimv2_np.viz.seen import Seen, see
from aimv2_np.viz.towers import Floats, VisionModel, VisionProcessor, grid_of, pooling_head_of, vision_tower_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, TITLE, SCALE = 1.7, 0.4, 0.8  # inches: a picture and the gap to the next, above one, the scale of colours
COLUMNS = 4  # pictures side by side


@own_arithmetic()
def pooling_weights(tower: Aimv2VisionModel, tokens: Float[Array, "B N D"]) -> Floats:
    """The pooling head's attention to tokens that are there already, (B, H, N); each row sums to 1."""
    head = pooling_head_of(tower)
    with beside(tokens), trace(head, "probs") as activations:
        head(tokens)
    return to_numpy(widen(activations["probs"]))[:, :, 0]  # (B, H, 1, N)


@own_arithmetic()
def pooling_attention(model: VisionModel, pixel_values: Any) -> Floats:
    """How the pooling head shares its attention among the patches: (B, rows, columns), each map summing to 1.

    The mean over its heads; `pooling_weights` has each of them. Takes `pixel_values` (B, C, height, width) as the model
    does, and raises what it raises; ValueError for a model without a pooling head.
    """
    tower = vision_tower_of(model)
    pooling_head_of(tower)
    weights = pooling_weights(tower, tower(pixel_values).last_hidden_state)
    maps: Floats = weights.mean(axis=1).reshape(-1, *grid_of(tower, pixel_values))
    return maps


@own_arithmetic()
def draw_pooling_attention(
    model: VisionModel,
    processor: VisionProcessor,
    images: Sequence[Any],
    captions: Sequence[str] | None = None,
) -> Drawing:
    """Each picture as the model sees it (resized and cropped), and under it where the pooling head looks.

    The colours are attention relative to an even share: 1 is what a patch would get if all got the same. The drawing's
    array is a list of maps (rows, columns), one for each picture, as from `pooling_attention`.

    Args:
        images: pictures in the forms that the image processor takes.
        captions: a title for each picture.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no images, as many captions as not images, or a model without a pooling head.
    """
    need_matplotlib()
    tower = vision_tower_of(model)
    pooling_head_of(tower)
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"captions has {len(captions)} entries for {len(images)} images; expected one for each")
    pictures = see(tower, processor, images)
    maps = [pooling_attention(tower, seen.pixel_values)[0] for seen in pictures]
    return Drawing(maps, _draw(pictures, [weights * weights.size for weights in maps], captions))


def _draw(pictures: Sequence[Seen], shares: Sequence[Floats], captions: Sequence[str] | None) -> "Figure":
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    size = (columns * SIDE + SCALE, rows * (2 * SIDE + (TITLE if captions else 0)))
    figure: Figure = need_matplotlib().Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    highest = max(float(share.max()) for share in shares)
    for i, (seen, share) in enumerate(zip(pictures, shares, strict=True)):
        above, below = axes[i // columns * 2 : i // columns * 2 + 2, i % columns]
        edges = (0, seen.colors.shape[1], seen.colors.shape[0], 0)
        above.imshow(seen.colors, extent=edges, interpolation="nearest")
        below.imshow(seen.colors.mean(axis=2), extent=edges, cmap="gray", vmin=0, vmax=255)
        heat = below.imshow(share, extent=edges, cmap="inferno", vmin=0, vmax=highest, alpha=0.7)
        if captions is not None:
            # Titles are text, whatever dollar signs they hold.
            above.set_title("\n".join(wrap(captions[i], 29)), fontsize=SMALL, pad=3, parse_math=False)
    color_scale(figure, heat, list(axes.flat), EVEN)
    return figure
