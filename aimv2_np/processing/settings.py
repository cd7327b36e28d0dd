"""The settings of the image processor: what `preprocessor_config.json` may say, checked and put into one form.

Each function takes what was given and returns what is kept; it raises ValueError, behind the name of the setting.
"""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, Final

from aimv2_np.config.fields import finite
from aimv2_np.errors import mismatch, quoted
from aimv2_np.processing.arrays import MAX_PIXELS

CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
BILLION: Final = 1e9  # pixels are multiplied, divided or moved by no more: far from the ends of float32

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


def as_size(value: Any, *, square: bool = False) -> dict[str, int]:
    """One of the ways to write a size, as a dictionary: n, [height, width], or the dictionary itself.

    `square` says what a single number means: both edges, or the shorter one.
    """
    if isinstance(value, Mapping):
        given = {key: pixels for key, pixels in value.items() if pixels is not None}
    elif isinstance(value, list | tuple) and len(value) == 2:
        given = {"height": value[0], "width": value[1]}
    elif isinstance(value, Integral):
        given = {"height": value, "width": value} if square else {"shortest_edge": value}
    else:
        raise ValueError(mismatch(value, "a number of pixels, [height, width] or a dictionary"))
    if set(given) not in _SIZE_KEYS:
        choices = "; ".join(", ".join(sorted(keys)) for keys in _SIZE_KEYS)
        raise ValueError(f"has the keys {quoted(list(given))}; expected one of: {choices}")
    for key, pixels in given.items():
        if isinstance(pixels, bool) or not isinstance(pixels, Integral) or not 1 <= int(pixels) <= MAX_PIXELS:
            raise ValueError(f"has the {key} {quoted(pixels)}; expected a whole number of pixels, 1 or more")
    return {key: int(pixels) for key, pixels in given.items()}


def as_crop(value: Any) -> dict[str, int]:
    """The size of the crop, {"height": h, "width": w}."""
    edges = as_size(value, square=True)
    if set(edges) != {"height", "width"}:
        raise ValueError(mismatch(edges, "height and width"))
    return edges


def as_channels(value: Any) -> tuple[float, ...]:
    """One number for each of red, green and blue; a single number stands for all three."""
    numbers = (value,) * 3 if not isinstance(value, Iterable) or isinstance(value, str) else tuple(value)
    if len(numbers) != 3:
        raise ValueError(f"has {len(numbers)} numbers; expected one for each of red, green and blue")
    return tuple(finite(item, -BILLION, BILLION) for item in numbers)


def as_divisors(value: Any) -> tuple[float, ...]:
    """As `as_channels`, for numbers that pixels are divided by."""
    numbers = as_channels(value)
    if min(map(abs, numbers)) < 1 / BILLION:
        raise ValueError(mismatch(value, "no zero or next to it, because pixels are divided by it"))
    return numbers


def as_count(value: Any, name: str) -> int:
    """A whole number from 1 up; `name` is what the message begins with."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} " + mismatch(value, "a whole number from 1 up"))
    return int(value)


def as_patch(value: Any) -> tuple[int, int]:
    """A patch's height and width in pixels; a single number is both."""
    pair = (value, value) if isinstance(value, Integral) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError("patch_size " + mismatch(value, "a number of pixels or (height, width)"))
    return as_count(pair[0], "patch_size"), as_count(pair[1], "patch_size")
