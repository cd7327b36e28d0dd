"""Pictures as the model sees them: what the image processor made of them, turned back into colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.viz.towers import Floats, VisionProcessor, grid_of


class Seen(NamedTuple):
    """One picture as the model sees it.

    Attributes:
        pixel_values: (1, 3, H, W), what goes into the model.
        colors: (h, w, 3), the same as colours, without the edges that fill no patch.
        grid: (rows, columns) of patches.
    """

    pixel_values: Floats
    colors: NDArray[np.uint8]
    grid: tuple[int, int]


def see(tower: Aimv2VisionModel, processor: VisionProcessor, images: Sequence[Any]) -> list[Seen]:
    """Process pictures in the forms that the image processor takes; ValueError for none, and what it raises."""
    if not images:
        raise ValueError("images is empty; expected at least one picture")
    image_processor = processor.image_processor if isinstance(processor, Aimv2Processor) else processor
    if image_processor is None:
        raise ValueError("processor has no image processor; expected one, which says how pictures are resized")
    pixels = image_processor(list(images))["pixel_values"]  # a list, if they are of different sizes
    patch = tower.config.patch_shape
    return [Seen(p[None], colors_of(p, image_processor, patch), grid_of(tower, p[None])) for p in pixels]


def colors_of(pixels: Floats, processor: Aimv2ImageProcessor, patch: tuple[int, int]) -> NDArray[np.uint8]:
    """(3, H, W) -> (h, w, 3): the image processor's arithmetic undone, and what does not fill a patch cut off."""
    colors = pixels.transpose(1, 2, 0).astype(np.float64)
    if processor.do_normalize:
        colors = colors * np.asarray(processor.image_std) + np.asarray(processor.image_mean)
    if processor.do_rescale:
        colors = colors / processor.rescale_factor
    height, width = (size // p * p for size, p in zip(colors.shape[:2], patch, strict=True))
    return np.clip(np.rint(colors[:height, :width]), 0, 255).astype(np.uint8)
