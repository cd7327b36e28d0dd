"""Arrays of numbers as images: their channels last, three of them, transparency laid on white."""

import warnings
from typing import Final

import numpy as np

from aimv2_np.shapes import NDArray

Pixels = NDArray  # (H, W, 3): uint8, or the numbers of the array that was given

MAX_PIXELS: Final = 178_956_970
"""Most pixels an image may have, decoded or resized: Pillow's own limit against decompression bombs."""

MAX_NUMBER: Final = 1e9  # far beyond any colour, far below the end of float32

_CHANNELS: Final = (1, 3, 4)


def check_pixel_count(height: int, width: int, what: str) -> None:
    """Refuse sizes that nobody means, before memory is reserved for them."""
    if height < 1 or width < 1:
        raise ValueError(f"{what} is {width} x {height} pixels; expected at least one pixel each way")
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{what} is {width} x {height} pixels, {height * width:,} in all; expected at most {MAX_PIXELS:,}; "
            "crop it or make it smaller first"
        )


def pixels_of_array(array: NDArray, *, convert_rgb: bool = True, input_data_format: str | None = None) -> Pixels:
    """An array of numbers as (H, W, 3), its dtype kept.

    Where both the first and the last axis could be channels, as in (1, 700, 3), the first is taken, as in Transformers,
    with a warning; say `input_data_format` to decide. A plain (H, W) array is grey (Transformers refuses it).
    """
    if array.dtype.kind not in "uif":
        raise ValueError(f"the array's dtype is {array.dtype}; expected integers or floats: convert it, e.g. to uint8")
    if array.ndim not in (2, 3):
        raise ValueError(
            f"the array's shape is {array.shape}; expected (height, width, channels), (channels, height, width) or "
            "(height, width)"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    elif _channels_come_first(array.shape, input_data_format):
        array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    check_pixel_count(array.shape[0], array.shape[1], "the array")
    if array.dtype.kind == "f" and not -MAX_NUMBER <= float(array.min()) <= float(array.max()) <= MAX_NUMBER:
        raise ValueError(
            f"a pixel is NaN, infinite or beyond {MAX_NUMBER:.0e}; expected colours: look where it comes from"
        )
    if not convert_rgb and array.shape[2] != 3:
        raise ValueError(f"the array has {array.shape[2]} channels; expected three: leave do_convert_rgb on")
    if array.shape[2] == 1:
        return np.broadcast_to(array, (*array.shape[:2], 3))
    return _array_on_white(array) if array.shape[2] == 4 else array


def _channels_come_first(shape: tuple[int, ...], input_data_format: str | None) -> bool:
    first, last = shape[0] in _CHANNELS, shape[2] in _CHANNELS
    if input_data_format not in (None, "channels_first", "channels_last"):
        raise ValueError(
            f"input_data_format is {input_data_format!r}; expected 'channels_first', 'channels_last' or None"
        )
    if input_data_format is not None:
        first, last = input_data_format == "channels_first" and first, input_data_format == "channels_last" and last
    if not first and not last:
        raise ValueError(
            f"the array's shape is {shape}; expected 1, 3 or 4 channels on the first or the last axis"
            + (f" ({input_data_format} was asked for)" if input_data_format else "")
        )
    if first and last:
        warnings.warn(
            f"an array of shape {shape} may have its channels first or last; the first axis is taken, as in "
            "Transformers. Say input_data_format='channels_first' or 'channels_last'",
            stacklevel=2,
        )
    return first


def _array_on_white(array: NDArray) -> NDArray:
    """(H, W, 4) → (H, W, 3): colour · alpha + white · (1 - alpha), in float64 and rounded, as Transformers does it."""
    white = 255 if array.dtype.kind in "ui" else 1.0
    if array.min() < 0 or array.max() > white:
        raise ValueError(
            f"the array has four channels of {array.dtype} from {array.min()} to {array.max()}; expected 0 to "
            f"{white:g}: scale it, e.g. to uint8"
        )
    alpha = array[..., 3:] / white
    laid: NDArray = alpha * array[..., :3] + (1 - alpha) * white
    return (np.round(laid) if white == 255 else laid).astype(array.dtype)
