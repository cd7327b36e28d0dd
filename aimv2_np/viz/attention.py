"""Where the pooling head looks: the weights with which it mixes the patches into one vector per picture.

    a_n = mean_h softmax_n(q_h · k_hn / √d)        h: heads, n: patches; q is the learned `cls_token`

The head is the last step of the vision tower, so these weights are the whole of what it does with the patches. A patch
has exchanged information with all others by then: the map shows where the vector was read, not where it came from.
"""

from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from textwrap import wrap
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aimv2_np.arrays import beside, to_numpy
from aimv2_np.files import atomic_write
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.tracing import trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, GAP, TITLE, SCALE = 1.6, 0.1, 0.4, 0.8  # inches: a picture, between two, above one, the colour scale
COLUMNS = 4  # pictures side by side


def pooling_attention(model: Aimv2Model | Aimv2VisionModel, pixel_values: Any) -> NDArray[np.floating[Any]]:
    """How the pooling head shares its attention among the patches: (B, rows, columns), each map summing to 1.

    Takes `pixel_values` (B, C, height, width) as the model does, and raises what it raises; ValueError for a model
    without a pooling head.
    """
    vision = _vision(model)
    tokens = vision(pixel_values).last_hidden_state  # (B, N, D)
    with beside(tokens), trace(vision.head, "probs") as activations:
        vision.head(tokens)
    probs = to_numpy(activations["probs"])  # (B, H, 1, N)
    patch_height, patch_width = vision.config.patch_shape
    grid = (pixel_values.shape[2] // patch_height, pixel_values.shape[3] // patch_width)
    maps: NDArray[np.floating[Any]] = probs.mean(axis=1).reshape(-1, *grid)
    return maps


def draw_attention(
    model: Aimv2Model | Aimv2VisionModel,
    processor: Aimv2Processor | Aimv2ImageProcessor,
    images: Sequence[Any],
    captions: Sequence[str] | None = None,
) -> "Figure":
    """Each picture as the model sees it (resized and cropped), and under it where the pooling head looks.

    The colours are attention relative to an even share: 1 is what a patch would get if all got the same.

    Args:
        images: pictures in the forms that the image processor takes.
        captions: a title for each picture.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no images, as many captions as not images, or a model without a pooling head.
    """
    matplotlib = _matplotlib()
    if not images:
        raise ValueError("found no images; expected at least one")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"found {len(captions)} captions for {len(images)} images; expected one for each")
    vision = _vision(model)
    image_processor = processor.image_processor if isinstance(processor, Aimv2Processor) else processor
    if image_processor is None:
        raise ValueError("the processor has no image processor; expected one, which says how pictures are resized")
    pixels = image_processor(list(images))["pixel_values"]
    batches = [p[None] for p in pixels] if isinstance(pixels, list) else [pixels]  # a list: of different sizes
    maps = [m for batch in batches for m in pooling_attention(model, batch)]
    shown = [_seen(p, image_processor, vision.config.patch_shape) for p in pixels]
    return _draw(matplotlib, shown, [m * m.size for m in maps], captions)


def save_png(figure: "Figure", path: str | PathLike[str], overwrite: bool = False, software: str = "aimv2-np") -> None:
    """Write `figure` to `path` as a PNG that names `software` as its maker; FileExistsError unless `overwrite`."""
    with atomic_write(path, overwrite) as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": software})


def _vision(model: Aimv2Model | Aimv2VisionModel) -> Any:
    vision = model.vision_model if isinstance(model, Aimv2Model) else model
    if not isinstance(vision, Aimv2VisionModel):
        raise ValueError(f"model is an {type(model).__name__}; expected one with a vision tower")
    if vision.head is None:
        raise ValueError(
            "the model has no pooling head (use_head is false) and its attention cannot be shown; expected a "
            "checkpoint with one, such as 'apple/aimv2-large-patch14-224-lit'"
        )
    return vision


def _seen(
    pixels: NDArray[np.floating[Any]], processor: Aimv2ImageProcessor, patch: tuple[int, int]
) -> NDArray[np.uint8]:
    """(3, H, W) -> (h, w, 3): the image processor's arithmetic undone, and what does not fill a patch cut off."""
    colours = pixels.transpose(1, 2, 0).astype(np.float64)
    if processor.do_normalize:
        colours = colours * np.asarray(processor.image_std) + np.asarray(processor.image_mean)
    if processor.do_rescale:
        colours = colours / processor.rescale_factor
    height, width = (size // p * p for size, p in zip(colours.shape[:2], patch, strict=True))
    return np.clip(np.rint(colours[:height, :width]), 0, 255).astype(np.uint8)


def _draw(
    matplotlib: ModuleType,
    pictures: Sequence[NDArray[np.uint8]],
    maps: Sequence[NDArray[np.floating[Any]]],
    captions: Sequence[str] | None,
) -> "Figure":
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    title = TITLE if captions else 0.0
    width, height = columns * (SIDE + GAP) + SCALE, rows * (title + 2 * (SIDE + GAP)) + GAP
    figure: Figure = matplotlib.Figure(figsize=(width, height))

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


def _matplotlib() -> ModuleType:
    try:
        # The figure alone: pyplot would look for a display and keep state.
        return import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError("drawing needs matplotlib, which is not installed: pip install 'aimv2-np[viz]'") from error
