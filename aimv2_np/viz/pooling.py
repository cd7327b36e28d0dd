"""Where the pooling head looks: the weights with which it mixes the patches into one vector per picture.

    a_hn = softmax_n(q_h · k_hn / √d)        h: heads, n: patches; q is the learned `cls_token`

The head is the last step of the vision tower, so these weights are the whole of what it does with the patches. A patch
has exchanged information with all others by then: the map shows where the vector was read, not where it came from.
"""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import beside, to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.trace import trace
from aimv2_np.viz.drawing import Drawing, need_matplotlib
from aimv2_np.viz.seen import see
from aimv2_np.viz.towers import grid_of, pooling_head, vision_tower

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, GAP, TITLE, SCALE = 1.6, 0.1, 0.4, 0.8  # inches: a picture, between two, above one, the colour scale
COLUMNS = 4  # pictures side by side


def pooling_weights(tower: Aimv2VisionModel, tokens: Float[Array, "B N D"]) -> NDArray[np.floating[Any]]:
    """The pooling head's attention to tokens that are there already, (B, H, N); each row sums to 1."""
    head = pooling_head(tower)
    with beside(tokens), trace(head, "probs") as activations:
        head(tokens)
    return to_numpy(widen(activations["probs"]))[:, :, 0]  # (B, H, 1, N)


def pooling_attention(model: Aimv2Model | Aimv2VisionModel, pixel_values: Any) -> NDArray[np.floating[Any]]:
    """How the pooling head shares its attention among the patches: (B, rows, columns), each map summing to 1.

    The mean over its heads; `pooling_weights` has each of them. Takes `pixel_values` (B, C, height, width) as the model
    does, and raises what it raises; ValueError for a model without a pooling head.
    """
    tower = vision_tower(model)
    pooling_head(tower)
    weights = pooling_weights(tower, tower(pixel_values).last_hidden_state)
    maps: NDArray[np.floating[Any]] = weights.mean(axis=1).reshape(-1, *grid_of(tower, pixel_values))
    return maps


def draw_pooling_attention(
    model: Aimv2Model | Aimv2VisionModel,
    processor: Aimv2Processor | Aimv2ImageProcessor,
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
    tower = vision_tower(model)
    pooling_head(tower)
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"found {len(captions)} captions for {len(images)} images; expected one for each")
    seen = see(tower, processor, images)
    maps = [pooling_attention(tower, it.pixel_values)[0] for it in seen]
    return Drawing(maps, _draw([it.colors for it in seen], [m * m.size for m in maps], captions))


def _draw(
    pictures: Sequence[NDArray[np.uint8]],
    maps: Sequence[NDArray[np.floating[Any]]],
    captions: Sequence[str] | None,
) -> "Figure":
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    title = TITLE if captions else 0.0
    width, height = columns * (SIDE + GAP) + SCALE, rows * (title + 2 * (SIDE + GAP)) + GAP
    figure: Figure = need_matplotlib().Figure(figsize=(width, height))

    def place(left: float, top: float, side: float = SIDE, tall: float = SIDE) -> "Axes":
        return figure.add_axes((left / width, 1 - (top + tall) / height, side / width, tall / height))

    highest = max(float(m.max()) for m in maps)
    for i, (picture, weights) in enumerate(zip(pictures, maps, strict=True)):
        left, top = GAP + i % columns * (SIDE + GAP), i // columns * (title + 2 * (SIDE + GAP)) + title + GAP / 2
        above, below = place(left, top), place(left, top + SIDE + GAP)
        edges = (0, picture.shape[1], picture.shape[0], 0)
        above.imshow(picture, extent=edges, interpolation="nearest")
        below.imshow(picture.mean(axis=2), extent=edges, cmap="gray", vmin=0, vmax=255)
        heat = below.imshow(weights, extent=edges, cmap="inferno", vmin=0, vmax=highest, alpha=0.7)
        for ax in (above, below):
            ax.set_axis_off()
        if captions is not None:
            # Titles are text, whatever dollar signs they hold.
            above.set_title("\n".join(wrap(captions[i], 29)), fontsize=7, pad=3, parse_math=False)
    middle = title + SIDE + 1.5 * GAP
    bar = figure.colorbar(heat, cax=place(width - SCALE + 2 * GAP, middle, 0.1))
    bar.set_label("attention (1: an even share)", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure
