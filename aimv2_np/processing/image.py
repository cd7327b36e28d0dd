"""The image processor: images to `pixel_values`, as CLIP's image processor makes them.

    RGB → resize → centre crop → ((x · rescale_factor) - mean) / std → (B, 3, H, W) float32

Radford et al. 2021 (arXiv:2103.00020); the reference is Transformers' Pillow back end, `CLIPImageProcessorPil`, whose
numbers these are.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self, Unpack

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.config.fields import boolean, check_fields, integer, number
from aimv2_np.errors import Advising, CheckpointError, mismatch
from aimv2_np.files.atomic import make_folder, refuse_existing
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.json import write_json
from aimv2_np.files.locate import IMAGE_PROCESSOR_FILES, read_json_in, resolve
from aimv2_np.processing import settings
from aimv2_np.processing.inputs import Inputs
from aimv2_np.processing.loading import load_pixels, naming_image, numbered_image
from aimv2_np.processing.transforms import (
    center_crop,
    check_whole_numbers,
    resize,
    resized_shape,
    shape_within,
    to_input,
    warn_about_fractions,
)
from aimv2_np.processing.window import FILTERS
from aimv2_np.shapes import NDArray

IMAGE_FILES: Final = ("processor_config.json", "preprocessor_config.json")
Bound = tuple[tuple[int, int], int]  # a patch's height and width; most patches of an image
_TYPE_KEYS: Final = ("image_processor_type", "feature_extractor_type", "processor_class")


@dataclass(frozen=True, kw_only=True)
class Aimv2ImageProcessor(Advising):
    """Images to arrays that a vision model takes.

    The fields are those of `preprocessor_config.json`, with CLIP's defaults. `size` may be written as a number (the
    shorter edge), (height, width), or a dictionary with shortest_edge; shortest_edge and longest_edge; height and
    width; max_height and max_width. `resample` is Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear,
    3 bicubic, 4 box, 5 Hamming. `exif_transpose`, which no file holds, turns files and images upright by their EXIF
    orientation; off, as Transformers leaves the images that it is given (it does turn the files that it opens itself;
    here both give the same pixels). `extra` holds keys of the file that mean nothing here; they are written back by
    `save_pretrained`.

    Raises:
        ValueError: a setting that makes no sense, by name.
    """

    do_resize: bool = boolean(True)
    size: Any = field(default=224, metadata={"check": settings.as_size})
    resample: int = integer(3, 0, 5)
    do_center_crop: bool = boolean(True)
    crop_size: Any = field(default=224, metadata={"check": settings.as_crop})
    do_rescale: bool = boolean(True)
    rescale_factor: float = number(1 / 255, -settings.BILLION, settings.BILLION)
    do_normalize: bool = boolean(True)
    image_mean: Any = field(default=settings.CLIP_MEAN, metadata={"check": settings.as_channels})
    image_std: Any = field(default=settings.CLIP_STD, metadata={"check": settings.as_divisors})
    do_convert_rgb: bool = boolean(True)
    exif_transpose: bool = boolean(False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(
        self,
        images: Any,
        *,
        input_data_format: str | None = None,
        any_size: bool = False,
        max_patches: int | None = None,
        patch_size: int | tuple[int, int] = 14,
        return_tensors: str | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Images to {"pixel_values": (B, 3, H, W) float32}.

        Args:
            images: a path, the bytes of a file, a Pillow image, an array, or a list of these. Arrays are (H, W, 3),
                (3, H, W), grey (H, W), or a batch of four axes, of whole numbers from 0 to 255; or of fractions from
                0 to 1, with `do_rescale=False` (else they are multiplied by 1/255 once more, as in Transformers; a
                warning says so). One channel or four become three, as for images.
            input_data_format: "channels_first" or "channels_last", for arrays whose shape leaves it open.
            any_size: neither resize nor crop, as native checkpoints do, and return a list of arrays (3, H, W) even if
                all are of one size: what `encode_images` takes.
            max_patches: scale images of more patches down, in proportion, to at most so many. Only for images that
                are not cropped. The native checkpoint was trained for up to 4096.
            patch_size: of the model, or (height, width); what `max_patches` counts.
            return_tensors: None or "np"; there for code written for Transformers.
            **changes: any of the settings, for this call only; None keeps the setting.

        Returns:
            One array if all images come out of one size, which they do if they are cropped. Otherwise (native
            checkpoints, `any_size`) "pixel_values" is a list of arrays (3, H, W).

        Raises:
            FileNotFoundError: a path that names nothing.
            ValueError: images that are damaged, too large, empty, not finite, of a wrong shape or dtype; the message
                names which. An empty list.
            TypeError: what is no image at all, or an unknown keyword.
        """
        if return_tensors not in (None, "np"):
            raise ValueError("return_tensors " + mismatch(return_tensors, "'np': the results are NumPy arrays"))
        if any_size:
            changes = {**changes, "do_resize": False, "do_center_crop": False}
        chosen = self._with(changes)
        bound = chosen.bound(max_patches, patch_size)
        results = []
        for index, image in enumerate(_image_list(images)):
            with naming_image(numbered_image(index, image)):
                results.append(chosen.prepare(image, bound, input_data_format))
        same = not any_size and all(result.shape == results[0].shape for result in results)
        return Inputs(pixel_values=np.stack(results) if same else results)

    def upright(self, on: bool = True) -> Self:
        """This processor with `exif_transpose` on, or off."""
        return replace(self, exif_transpose=on)

    def bound(self, max_patches: int | None, patch_size: int | tuple[int, int] = 14) -> Bound | None:
        """`max_patches` of `__call__` as `prepare` takes it; ValueError where these settings crop, or for no counts."""
        if max_patches is None:
            return None
        if self.do_center_crop:
            raise ValueError(
                f"max_patches is {max_patches}; expected none, as these settings crop every image to "
                f"{self.crop_size['width']} x {self.crop_size['height']} pixels; pass any_size=True for any "
                "size, or take a native model's"
            )
        return settings.as_patch(patch_size), settings.as_count(max_patches, "max_patches")

    def _check_size(self, height: int, width: int) -> None:
        """ValueError for an image that would be resized to something enormous."""
        if self.do_resize:
            resized_shape(height, width, self.size, self._kept)

    @property
    def _kept(self) -> tuple[int, int] | None:
        """The height and width that are left of a resized image; None if all of it is."""
        if not self.do_center_crop or self.resample not in FILTERS:
            return None
        return self.crop_size["height"], self.crop_size["width"]

    @own_arithmetic()
    def prepare(self, image: Any, bound: Bound | None = None, input_data_format: str | None = None) -> NDArray:
        """One image, of which `__call__` takes several, to (3, h, w) float32; what it raises does not name it."""
        pixels = load_pixels(
            image,
            convert_rgb=self.do_convert_rgb,
            exif_transpose=self.exif_transpose,
            input_data_format=input_data_format,
            check_size=self._check_size,
        )
        if self.do_rescale and pixels.dtype.kind == "f" and pixels.min() >= 0 and pixels.max() <= 1:
            warn_about_fractions(pixels)
        if self.do_resize:
            pixels = resize(pixels, self.size, self.resample, self._kept)
        height, width = pixels.shape[:2]
        if bound:
            height, width = shape_within(height, width, *bound)
        if (height, width) != pixels.shape[:2]:
            pixels = resize(pixels, {"height": height, "width": width}, self.resample)
        elif not self.do_resize and self.do_rescale and pixels.dtype.kind in "ui" and pixels.dtype != np.uint8:
            check_whole_numbers(pixels, self.rescale_factor)
        if self.do_center_crop:
            pixels = center_crop(pixels, self.crop_size["height"], self.crop_size["width"])
        return to_input(
            pixels,
            self.rescale_factor if self.do_rescale else None,
            self.image_mean if self.do_normalize else None,
            self.image_std if self.do_normalize else None,
        )

    def _with(self, changes: Mapping[str, Any]) -> Self:
        unknown = sorted(set(changes) - set(_SETTINGS))
        if unknown:
            raise TypeError(f"unknown image settings {unknown}; expected some of {', '.join(_SETTINGS)}")
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **given) if given else self

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """From the content of `preprocessor_config.json`; missing keys and nulls take CLIP's defaults.

        Raises:
            CheckpointError: another processor's file, a setting that makes no sense, or padding (`do_pad`), which no
                AIMv2 checkpoint asks for and which is not done here.
        """
        kind = content.get("image_processor_type", content.get("feature_extractor_type"))
        if kind is not None and not (isinstance(kind, str) and kind in settings.KNOWN_TYPES):
            raise CheckpointError("the image processor " + mismatch(kind, "CLIPImageProcessor, AIMv2's own"))
        if content.get("do_pad"):
            raise CheckpointError("do_pad is true; expected no padding: AIMv2's image processor has none")
        given = {name: content[name] for name in _WRITTEN if content.get(name) is not None}
        try:
            if "size" in given and content.get("default_to_square") is True:
                given["size"] = settings.as_size(given["size"], square=True)
            known = {*_WRITTEN, *_TYPE_KEYS, "default_to_square"}
            return cls(**given, extra={key: value for key, value in content.items() if key not in known})
        except ValueError as error:
            raise CheckpointError(f"the image processor's file does not fit: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The content of `preprocessor_config.json`, as Transformers writes it."""
        own = {name: getattr(self, name) for name in _WRITTEN}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
        return dict(self.extra) | plain | {"image_processor_type": "CLIPImageProcessor"}

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | os.PathLike[str], **options: Unpack[HubOptions]) -> Self:
        """From a folder or a hub id: the image processor within `processor_config.json`, or else
        `preprocessor_config.json` (the order of Transformers).

        Raises:
            FileNotFoundError: neither file is there.
            CheckpointError: a file that is not JSON or does not describe CLIP's image processor.
        """
        folder = resolve(path_or_hub_id, files=IMAGE_PROCESSOR_FILES, **options)
        together, alone = IMAGE_FILES
        content = (read_json_in(folder, together) or {}).get("image_processor")
        if content is None:
            content = read_json_in(folder, alone)
        elif not isinstance(content, dict):
            raise CheckpointError(f"image_processor in {together} {mismatch(content, 'an object')}")
        if content is None:
            raise FileNotFoundError(
                f"{folder} has no {alone}, and no {together} with an image processor in it; "
                "fetch the file, or make an Aimv2ImageProcessor() with the settings that you want"
            )
        return cls.from_dict(content)

    def save_pretrained(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write `preprocessor_config.json`, which Transformers reads to an equal processor.

        Where the folder has a `processor_config.json` that nests image settings, readers prefer those; with
        `overwrite` they are replaced too.

        Raises:
            FileExistsError: the file, or such nested settings, are there and `overwrite` is False.
        """
        folder = make_folder(folder)
        together, alone = (folder / name for name in IMAGE_FILES)
        refuse_existing(alone, overwrite)
        nesting = read_json_in(folder, together.name) or {}
        if "image_processor" in nesting and not overwrite:
            raise FileExistsError(f"{together} already holds image settings; pass overwrite=True to replace them")
        write_json(alone, self.to_dict(), overwrite=overwrite)
        if "image_processor" in nesting:
            write_json(together, nesting | {"image_processor": self.to_dict()}, overwrite=True)


_SETTINGS: Final = tuple(setting.name for setting in fields(Aimv2ImageProcessor) if setting.name != "extra")
_WRITTEN: Final = tuple(name for name in _SETTINGS if name != "exif_transpose")  # what Transformers' files hold


def _image_list(images: Any) -> Sequence[Any]:
    if isinstance(images, list | tuple):
        if not images:
            raise ValueError("the list of images is empty; expected at least one")
        return images
    if getattr(images, "ndim", None) == 4:  # a batch: one array, or one tensor
        if not len(images):
            raise ValueError(f"the batch has the shape {tuple(images.shape)}; expected at least one image")
        return [images[index] for index in range(len(images))]
    return [images]
