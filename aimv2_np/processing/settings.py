"""The settings of the image processor: what `preprocessor_config.json` may say, checked and put into one form."""

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Final

from aimv2_np.errors import quoted
from aimv2_np.processing.loading import MAX_PIXELS

CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)

BILLION: Final[Any] = 1e9
KNOWN_TYPES: Final = {
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
    "Aimv2ImageProcessor",
}
_SIZE_KEYS: Final = (
    {"shortest_edge"},
    {"height", "width"},
    {"shortest_edge", "longest_edge"},
    {"max_height", "max_width"},
)


def as_size(value: Any, name: str, *, square: bool) -> dict[str, int]:
    """One of the ways to write a size, as a dictionary: n, [height, width], or the dictionary itself.

    `square` says what a single number means: both edges, or the shorter one.
    """
    if isinstance(value, Mapping):
        size = {key: pixels for key, pixels in value.items() if pixels is not None}
    elif isinstance(value, list | tuple) and len(value) == 2:
        size = {"height": value[0], "width": value[1]}
    elif _is_whole(value):
        size = {"height": value, "width": value} if square else {"shortest_edge": value}
    else:
        raise ValueError(f"found {name}={quoted(value)}, expected a number of pixels, [height, width] or a dictionary")
    if set(size) not in _SIZE_KEYS:
        choices = "; ".join(", ".join(sorted(keys)) for keys in _SIZE_KEYS)
        raise ValueError(f"found {name} with the keys {quoted(list(size))}, expected one of: {choices}")
    for key, pixels in size.items():
        if not _is_whole(pixels) or not 1 <= pixels <= MAX_PIXELS:
            raise ValueError(f"found {name}[{key!r}]={quoted(pixels)}, expected a whole number of pixels, 1 or more")
    return {key: int(pixels) for key, pixels in size.items()}


def as_crop(value: Any) -> dict[str, int]:
    """The size of the crop, {"height": h, "width": w}."""
    crop = as_size(value, "crop_size", square=True)
    if set(crop) != {"height", "width"}:
        raise ValueError(f"found crop_size={crop}, expected height and width")
    return crop


def as_flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"found {name}={quoted(value)}, expected true or false")
    return value


def as_filter(value: Any) -> int:
    """Pillow's number of a resampling filter."""
    if not _is_whole(value) or not 0 <= value <= 5:
        raise ValueError(
            f"found resample={quoted(value)}, expected 0 (nearest), 1 (Lanczos), 2 (bilinear), 3 (bicubic), 4 (box) "
            "or 5 (Hamming)"
        )
    return int(value)


def as_factor(value: Any, name: str) -> float:
    """A number by which pixels are multiplied, divided or moved; far from the ends of float32."""
    if isinstance(value, bool) or not isinstance(value, Real) or not -BILLION <= value <= BILLION:
        raise ValueError(f"found {name}={quoted(value)}, expected a finite number, of a billion at most")
    return float(value)


def as_channels(value: Any, name: str, *, divides: bool) -> tuple[float, float, float]:
    """One number for each of red, green and blue; a single number stands for all three."""
    numbers = (value,) * 3 if not isinstance(value, Iterable) or isinstance(value, str) else tuple(value)
    if len(numbers) != 3:
        raise ValueError(f"found {name} with {len(numbers)} numbers, expected one for each of red, green and blue")
    red, green, blue = (as_factor(number, name) for number in numbers)
    if divides and min(abs(red), abs(green), abs(blue)) < 1e-9:
        raise ValueError(
            f"found {name}={quoted(numbers)}, expected no zero or next to it, because pixels are divided by it"
        )
    return red, green, blue


def as_count(value: Any, name: str) -> int:
    """A whole number from 1 up."""
    if not _is_whole(value) or value < 1:
        raise ValueError(f"found {name}={quoted(value)}, expected a whole number from 1 up")
    return int(value)


def as_patch(value: Any) -> tuple[int, int]:
    """A patch's height and width in pixels; a single number is both."""
    pair = (value, value) if _is_whole(value) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"found patch_size={quoted(value)}, expected a number of pixels or (height, width)")
    return as_count(pair[0], "patch_size"), as_count(pair[1], "patch_size")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
