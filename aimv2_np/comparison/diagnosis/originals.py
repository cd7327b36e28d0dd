"""The original pictures of a comparison, and the steps on their way to pixel_values, any of which may be exchanged.

file → (H, W, 3) bytes → resized (H', W', 3) → cut (h, w, 3) → ((x · scale) - mean) / std → (3, h, w)
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf
from pathlib import Path
from typing import Any, Self

import numpy as np

from aimv2_np.models.pretrained import AnyModel
from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.processing.loading import load_pixels, naming_image, numbered_image
from aimv2_np.processing.transforms import center_crop, resize, resized_shape, to_input
from aimv2_np.recording.recording import Recording
from aimv2_np.shapes import NDArray

ROUNDING = 2.0  # grey levels by which two ways to resize bytes may differ, both of which are right
KEPT = 16  # pictures, as they are and resized

Shape = tuple[int, int]
Settings = Aimv2ImageProcessor
Before = Callable[[NDArray, Settings], NDArray]
Resample = Callable[[NDArray, Shape], NDArray]  # (H, W, 3) bytes, (H', W') → (H', W', 3)


def pillow(number: int) -> Resample:
    """Pillow's filter of that number, which rounds to bytes."""
    return lambda pixels, shape: resize(pixels, {"height": shape[0], "width": shape[1]}, number)


RESAMPLES = tuple(pillow(number) for number in range(6))


def _own_shape(height: int, width: int, settings: Settings) -> Shape:
    return resized_shape(height, width, settings.size) if settings.do_resize else (height, width)


def _own_cut(pixels: NDArray, settings: Settings) -> NDArray:
    crop = settings.crop_size
    return center_crop(pixels, crop["height"], crop["width"]) if settings.do_center_crop else pixels


@dataclass(frozen=True)
class Steps:
    """How a picture becomes pixels. As it stands, what the processor does; a mistake has another function somewhere.

    A step that makes no sense with the processor's settings raises ValueError or KeyError.

    Attributes:
        turned: whether the picture is turned upright by its EXIF orientation.
        before: (bytes, settings) → bytes, before they are resized.
        shape: (height, width, settings) → the height and width to resize to.
        resample: settings → how it is resized.
        rounded: resized → the same, rounded or not.
        cut: (resized, settings) → what the model is to see of it.
    """

    turned: Callable[[Settings], bool] = lambda settings: settings.exif_transpose
    before: Before = lambda pixels, settings: pixels
    shape: Callable[[int, int, Settings], Shape] = _own_shape
    resample: Callable[[Settings], Resample] = lambda settings: RESAMPLES[settings.resample]
    rounded: Callable[[NDArray], NDArray] = lambda pixels: pixels
    cut: Callable[[NDArray, Settings], NDArray] = _own_cut


@dataclass(eq=False)
class Pictures:
    """Pictures, and the image processor that makes pixel_values of them.

    Attributes:
        images: a path, Pillow image or array each.
        processor: the reference's.
    """

    images: Sequence[Any]
    processor: Aimv2ImageProcessor

    @classmethod
    def of(cls, images: Any, reference: Recording, model: AnyModel | None) -> Self:
        """The pictures that the reference saw, as they were given to `compare`.

        They are turned upright if the reference's were: its pixel_values show it.

        Raises:
            TypeError, ValueError, FileNotFoundError: no pictures, another number than the reference's batch has,
                pictures that cannot be read, or no settings of an image processor to be found.
        """
        images = list(images) if isinstance(images, list | tuple) else [images]
        seen = reference.inputs.get("pixel_values")
        shapes = [seen.shape] if seen is not None else []
        shapes += [shape for path, shape in reference.shapes.items() if path.endswith("patch_embed")]
        if not shapes or "packed" in reference.metadata:
            raise ValueError(
                "pictures is given, but the reference holds neither pixel_values nor patch embeddings of pictures of "
                "one size; expected a recording of such: record one, or leave pictures out"
            )
        if len(images) != shapes[0][0]:
            raise ValueError(
                f"pictures holds {len(images)}; expected {shapes[0][0]}, one for each item of the reference's batch, "
                "in its order"
            )
        pictures = cls(images, _processor(reference, model, shapes[0]))
        upright = cls(images, pictures.processor.upright())
        if seen is not None and pictures.distance(pictures.right, seen) > ROUNDING >= upright.distance(
            upright.right, seen
        ):
            return upright
        return pictures

    @cached_property
    def right(self) -> list[NDArray]:
        """What the processor makes of each picture, (3, h, w)."""
        return list(self.processor(list(self.images))["pixel_values"])

    def by(self, steps: Steps) -> Iterator[NDArray]:
        """What other steps make of each picture, (3, h, w), one after the other; none where they make no sense."""
        settings = self.processor
        with suppress(ValueError, KeyError):
            for index in range(len(self.images)):
                turned, resample = steps.turned(settings), steps.resample(settings)
                height, width = self._prepared(index, turned, steps.before).shape[:2]
                shape = steps.shape(height, width, settings)
                pixels = steps.rounded(self._resized(index, turned, steps.before, resample, shape))
                yield to_input(
                    steps.cut(pixels, settings),
                    settings.rescale_factor if settings.do_rescale else None,
                    settings.image_mean if settings.do_normalize else None,
                    settings.image_std if settings.do_normalize else None,
                )

    def completing(self, reference: Recording) -> Recording:
        """The reference with what the processor makes of the pictures for its pixel_values, where it holds none."""
        if "pixel_values" in reference.inputs or len({one.shape for one in self.right}) > 1:
            return reference
        return replace(reference, inputs={**reference.inputs, "pixel_values": np.stack(self.right)})

    @cached_property
    def _load(self) -> Callable[[int, bool], NDArray]:
        """(number of the picture, whether it is turned upright) → its bytes, (H, W, 3); the last ones are kept."""

        def load(index: int, turned: bool) -> NDArray:
            image = self.images[index]
            with naming_image(numbered_image(index, image)):
                return load_pixels(image, convert_rgb=self.processor.do_convert_rgb, exif_transpose=turned)

        return lru_cache(KEPT)(load)

    @cached_property
    def _prepared(self) -> Callable[[int, bool, Before], NDArray]:
        """(number, turned, before) → the bytes that are resized; the last ones are kept."""
        return lru_cache(1)(lambda index, turned, before: before(self._load(index, turned), self.processor))

    @cached_property
    def _resized(self) -> Callable[[int, bool, Before, Resample, Shape], NDArray]:
        """(number, turned, before, resample, shape) → the resized picture, (H', W', 3); the last ones are kept."""

        def resized(index: int, turned: bool, before: Before, resample: Resample, shape: Shape) -> NDArray:
            return resample(self._prepared(index, turned, before), shape)

        return lru_cache(KEPT)(resized)

    def levels(self, ours: NDArray, theirs: NDArray) -> NDArray:
        """|theirs - ours| of (…, 3, h, w) in grey levels: as it was before the bytes were normalised."""
        settings = self.processor
        error = np.abs(theirs.astype(np.float64) - ours)
        if settings.do_normalize:
            error = error * np.abs(np.reshape(settings.image_std, (3, 1, 1)))
        return error / abs(settings.rescale_factor) if settings.do_rescale else error

    def distance(self, ours: Sequence[NDArray], theirs: Sequence[NDArray] | NDArray) -> float:
        """The largest error in grey levels of pictures (B, 3, h, w); infinite where shapes or numbers differ."""
        if [one.shape for one in ours] != [one.shape for one in theirs]:
            return inf
        return max(float(self.levels(one, other).max()) for one, other in zip(ours, theirs, strict=True))


def _processor(reference: Recording, model: AnyModel | None, shape: tuple[int, ...]) -> Aimv2ImageProcessor:
    """The image processor of the model's checkpoint; else CLIP's, where pixel_values of that shape are squares."""
    origins = [model.origin if model is not None else None, json.loads(reference.metadata.get("model", "null"))]
    for place, revision, *_ in filter(None, origins):
        hub = {} if Path(place).is_dir() else {"revision": revision, "local_files_only": True}
        with suppress(OSError, ValueError, TypeError, ImportError):  # not there (any more)
            return Aimv2ImageProcessor.from_pretrained(place, **hub)
    if len(shape) == 4 and shape[2] == shape[3]:
        return Aimv2ImageProcessor(size=shape[2], crop_size=shape[2])
    raise ValueError(
        "pictures is given, but the settings of the reference's image processor are not to be found; expected "
        "preprocessor_config.json in the folder of its model: pass that folder as model"
    )
