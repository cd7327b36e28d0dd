"""Pictures as the model sees them: what the image processor made of them, turned back into colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor


class Seen(NamedTuple):
    """One picture: what goes into the model, (1, 3, H, W), and its colours (h, w, 3) without what fills no patch."""

    pixel_values: NDArray[np.floating[Any]]
    colors: NDArray[np.uint8]


def see(tower: Aimv2VisionModel, processor: Aimv2Processor | Aimv2ImageProcessor, images: Sequence[Any]) -> list[Seen]:
    """Process pictures in the forms that the image processor takes; ValueError for none, and what it raises."""
    if not images:
        raise ValueError("found no images; expected at least one")
    image_processor = processor.image_processor if isinstance(processor, Aimv2Processor) else processor
    if image_processor is None:
        raise ValueError("the processor has no image processor; expected one, which says how pictures are resized")
    pixels = image_processor(list(images))["pixel_values"]  # a list, if they are of different sizes
    return [Seen(p[None], colors_of(p, image_processor, tower.config.patch_shape)) for p in pixels]


def colors_of(
    pixels: NDArray[np.floating[Any]], processor: Aimv2ImageProcessor, patch: tuple[int, int]
) -> NDArray[np.uint8]:
    """(3, H, W) -> (h, w, 3): the image processor's arithmetic undone, and what does not fill a patch cut off."""
    colors = pixels.transpose(1, 2, 0).astype(np.float64)
    if processor.do_normalize:
        colors = colors * np.asarray(processor.image_std) + np.asarray(processor.image_mean)
    if processor.do_rescale:
        colors = colors / processor.rescale_factor
    height, width = (size // p * p for size, p in zip(colors.shape[:2], patch, strict=True))
    return np.clip(np.rint(colors[:height, :width]), 0, 255).astype(np.uint8)
