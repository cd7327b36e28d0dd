"""Checks of the models' inputs, which become arrays of the model's library, device and dtype."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import (
    backend_of,
    device_of,
    is_array,
    is_float,
    move,
    namespace,
    to_numpy,
    widen,
)
from aimv2_np.backends.dtypes import LARGEST
from aimv2_np.config import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.errors import MissingEndWarning, a_type
from aimv2_np.models.running import check
from aimv2_np.shapes import Array, Float, Int

# Far above every image, and far below 1e19, where float32 squares overflow and RMSNorm would quietly give zeros.
MAX_PIXEL = 1e6
_NAMED = 5  # rows in a warning


def check_pixel_values(
    pixel_values: Any, config: Aimv2VisionConfig, like: Array, *, interpolate: bool
) -> Float[Array, "B C height width"]:
    """`pixel_values` as an array like `like`, or a ValueError that names what is wrong with it."""
    pixels = _as_array(pixel_values, "pixel_values")
    channels, (ph, pw) = config.num_channels, config.patch_shape
    if pixels.ndim != 4 or pixels.shape[1] != channels:
        raise ValueError(
            f"pixel_values has shape {pixels.shape}; expected (batch, {channels}, height, width). "
            "Aimv2ImageProcessor makes such arrays from images"
        )
    if not is_float(pixels):
        raise ValueError(
            f"pixel_values has dtype {pixels.dtype}; expected floats, scaled and normalised as Aimv2ImageProcessor does"
        )
    height, width = pixels.shape[2:]
    if height < ph or width < pw:
        raise ValueError(
            f"pixel_values are {height}x{width} (height x width) pixels, smaller than one {ph}x{pw} patch; "
            "use larger images"
        )
    grid = (height // ph, width // pw)
    if not config.is_native and not interpolate and grid != config.grid:
        raise ValueError(
            f"pixel_values of {height}x{width} pixels make a grid of {grid[0]}x{grid[1]} patches, but the model has "
            f"learned positions for {config.grid[0]}x{config.grid[1]}; resize the images to "
            f"{config.image_shape[0]}x{config.image_shape[1]}, or pass interpolate_pos_encoding=True"
        )
    pixels = _beside(like, pixels)
    _check_values(pixels, str(like.dtype))  # those of the host still there, without waiting for a GPU
    return move(pixels, backend_of(like), device_of(like)).astype(like.dtype, copy=False)


def _check_values(pixels: Array, dtype: str) -> None:
    def problem() -> ValueError:
        size = abs(widen(pixels))
        if not namespace(size).isfinite(size).all() or float(size.max()) > LARGEST[dtype]:
            return ValueError(f"pixel_values hold NaN or infinity (as {dtype}); expected finite numbers")
        return ValueError(
            f"pixel_values reach beyond ±{MAX_PIXEL:g}; expected normalised numbers, about -3 to 3, "
            "as Aimv2ImageProcessor makes them"
        )

    check((abs(widen(pixels)) <= min(MAX_PIXEL, LARGEST[dtype])).all(), problem)


def check_input_ids(input_ids: Any, config: Aimv2TextConfig, like: Array) -> Int[Array, "B T"]:
    """`input_ids` as an integer array in the library of `like`, or a ValueError that names what is wrong with it."""
    ids = _beside(like, _as_array(input_ids, "input_ids"))
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"input_ids has shape {ids.shape}; expected (batch, tokens) with at least one token")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"input_ids has dtype {ids.dtype}; expected integers, as Aimv2Tokenizer makes them")
    if ids.shape[1] > config.max_position_embeddings:
        raise ValueError(
            f"input_ids hold {ids.shape[1]} tokens, but the model has positions for {config.max_position_embeddings}; "
            "shorten the text, or pass truncation=True to the tokenizer"
        )
    inside = (ids >= 0) & (ids < config.vocab_size)
    check(
        inside.all(),
        lambda: ValueError(
            f"input_ids hold {int(ids[~inside][0])}, outside the vocabulary (0 to {config.vocab_size - 1}); "
            "use the tokenizer that belongs to this checkpoint"
        ),
    )
    return move(ids.astype(np.int64, copy=False), backend_of(like), device_of(like))


def check_attention_mask(
    attention_mask: Any, shape: tuple[int, int], like: Array, what: str = "token"
) -> Int[Array, "B N"] | None:
    """`attention_mask` as an integer array on the device of `like`; ValueError if it does not fit; None stays None.

    Args:
        attention_mask: 1 for a token or a patch, 0 for padding.
        shape: that it has to have, (B, N).
        like: an array of the model's library and device.
        what: what it marks, for messages: "token" or "patch"; an image without a patch is an error.
    """
    if attention_mask is None:
        return None
    mask = _beside(like, _as_array(attention_mask, "attention_mask"))
    if mask.shape != shape:
        raise ValueError(f"attention_mask has shape {mask.shape}; expected {shape}: one number for each {what}")
    check(
        ((mask == 0) | (mask == 1)).all(),
        lambda: ValueError(f"attention_mask holds values other than 0 and 1; expected 1 for a {what}, 0 for padding"),
    )
    if what == "patch":
        check(
            mask.any(axis=1).all(),
            lambda: ValueError("attention_mask hides all patches of an image; expected at least one 1 in every row"),
        )
    return move(mask.astype(np.int64), backend_of(like), device_of(like))


def check_ends(ids: Int[Array, "B T"], mask: Int[Array, "B T"] | None, config: Aimv2TextConfig) -> None:
    """Warn of texts that have no end-of-text token after their first token: their vector is that of another token."""
    ended = ids == config.eos_token_id
    if mask is not None:
        begun = mask.cumsum(axis=1) > 0
        ended = (ended & begun) | ~begun[:, -1:]  # a row of nothing but padding is no text
    ended = ended.any(axis=1)  # (B,)

    def warning() -> MissingEndWarning:
        rows = np.flatnonzero(~to_numpy(ended)).tolist()
        named = ", ".join(map(str, rows[:_NAMED])) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
        return MissingEndWarning(
            f"input_ids have no end-of-text token ({config.eos_token_id}) in row {named}; another token's vector, "
            "often the first one's, stands for such a text, whatever it says. End each text with it, as Aimv2Tokenizer "
            "does, with truncation=True too; do not cut what it returns"
        )

    check(ended.all(), warning)


def _beside(like: Array, array: Array) -> Array:
    """A CuPy array moved to the device of `like`; a NumPy array as it is."""
    return array if backend_of(array) == "numpy" else move(array, backend_of(like), device_of(like))


def _as_array(value: Any, name: str) -> Array:
    if isinstance(value, Mapping):
        raise ValueError(
            f"{name} is {a_type(value)}; expected an array: unpack what a processor returns, model(**inputs)"
        )
    if isinstance(value, str | bytes | PathLike) or hasattr(value, "getbands"):  # a Pillow image
        raise ValueError(
            f"{name} is {a_type(value)}; expected an array: let Aimv2Processor make it, model(**processor(…))"
        )
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; expected a plain one: fill what is masked, with value.filled(...)")
    if is_array(value) and not isinstance(value, np.ndarray | np.generic):
        return value
    if isinstance(value, list | tuple) and len({np.shape(item) for item in value if is_array(item)}) > 1:
        raise ValueError(f"{name} is a list of arrays of different shapes; expected one array, or images (C, h, w)")
    try:
        array = np.asarray(value)  # subclasses such as np.matrix, which compute differently, become plain arrays
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name} cannot be made an array ({error}); expected numbers in rows of equal length"
        ) from error
    if array.dtype == object:
        raise ValueError(f"{name} is {a_type(value)}; expected an array")
    if array.dtype.kind in "US":
        raise ValueError(
            f"{name} is {a_type(value)} of texts; expected numbers: let Aimv2Processor make them, model(**processor(…))"
        )
    return array
