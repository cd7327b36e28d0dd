"""The four steps of CLIP's image processing, each as its equation: resize, crop, rescale, normalise.

    image (H, W, 3) → resize → (H', W', 3) → centre crop → (h, w, 3) → ((x · scale) - mean) / std → (3, h, w) float32

They follow Transformers' Pillow back end step by step, including its rounding, so the results are the same numbers.
"""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from aimv2_np.processing.arrays import Pixels, check_pixel_count
from aimv2_np.processing.window import resize_window
from aimv2_np.shapes import NDArray

MOST_DISCARDED = 4  # times what is kept: an image resized to more is not resized as a whole
MAX_ENLARGED = 2**24  # pixels; an image of one row that is not cropped would otherwise grow to gigabytes


def resized_shape(
    height: int, width: int, size: Mapping[str, int], keep: tuple[int, int] | None = None
) -> tuple[int, int]:
    """The height and width an image is resized to.

    `size` is as `settings.as_size` returns it. Edges are rounded down as in Transformers, but never below one pixel
    (where Transformers fails). Of an enlarged image no more than `keep`, a height and a width, will come to be.

    Raises:
        ValueError: more pixels than an image may have, or may grow to (a long thin one grows enormous).
    """
    if "longest_edge" in size:
        wanted = _within_longest_edge(height, width, size["shortest_edge"], size["longest_edge"])
    elif "shortest_edge" in size:
        short = size["shortest_edge"]
        long = int(short * max(height, width) / min(height, width))
        wanted = (long, short) if width <= height else (short, long)
    elif "max_height" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
        wanted = (int(height * scale), int(width * scale))
    else:
        wanted = (size["height"], size["width"])
    shape = max(1, wanted[0]), max(1, wanted[1])
    what = f"the {width} x {height} image, once resized,"
    kept = kept_of((height, width), shape, keep)
    check_pixel_count(*kept, what)
    if kept[0] * kept[1] > max(MAX_ENLARGED, height * width):
        raise ValueError(
            f"{what} is {kept[1]} x {kept[0]} pixels; expected at most {MAX_ENLARGED:,} where it is enlarged; "
            "crop it or resize it first"
        )
    return shape


def kept_of(before: tuple[int, int], after: tuple[int, int], keep: tuple[int, int] | None) -> tuple[int, int]:
    """The height and width that are computed of an image resized from `before` to `after`.

    That is `after`, or where the image is enlarged on both axes at most `keep`; all (height, width).
    """
    if keep is None or after[0] < before[0] or after[1] < before[1]:
        return after
    return min(after[0], keep[0]), min(after[1], keep[1])


def _within_longest_edge(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """The shorter edge becomes `shortest`, or less where the longer one would otherwise pass `longest`."""
    short, long = float(min(height, width)), float(max(height, width))
    exact = float(shortest)  # of the shorter edge
    if long / short * shortest > longest:
        exact = longest * short / long
        shortest = round(exact)
    if shortest == min(height, width):
        return height, width
    if width < height:
        return int(exact * height / width), shortest
    return shortest, int(exact * width / height)


def shape_within(height: int, width: int, patch: tuple[int, int], most: int) -> tuple[int, int]:
    """The height and width, in proportion, at which an image has at most `most` patches; its own where it has.

        s = √(most · P_h · P_w / (height · width))

    An image so long and thin that its short edge would be less than a patch keeps one patch there, not its proportion.
    """
    ph, pw = patch
    if (height // ph) * (width // pw) <= most:
        return height, width
    scale = math.sqrt(most * ph * pw / (height * width))
    shape = max(ph, int(height * scale)), max(pw, int(width * scale))
    return min(shape[0], most * ph), min(shape[1], most * pw)


def resize(pixels: Pixels, size: Mapping[str, int], resample: int, keep: tuple[int, int] | None = None) -> Pixels:
    """(H, W, 3) → (H', W', 3), with Pillow's filter number `resample` (0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic,
    4 box, 5 Hamming). Of an enlarged image only the middle, at most `keep` high and wide, comes back.

    Pillow resizes 8-bit images. Arrays of other dtypes must hold whole numbers of 0 to 255 (they come back as uint8)
    or fractions of 0 to 1 (they are cut down to 8 bits, resized, and come back as float32 fractions).
    """
    from PIL import Image

    height, width = resized_shape(pixels.shape[0], pixels.shape[1], size, keep)
    kept_height, kept_width = kept_of(pixels.shape[:2], (height, width), keep)
    rows, columns = _middle(height, kept_height), _middle(width, kept_width)
    fractions = are_fractions(pixels)
    if fractions:
        pixels = _times(pixels, 255)
    if len(rows) * len(columns) * MOST_DISCARDED < height * width:
        needed = pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint8)
        resized = resize_window(needed, (height, width), rows, columns, resample)
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8, copy=False)))
        whole = np.asarray(image.resize((width, height), resample=Image.Resampling(resample)))
        resized = whole[rows.start : rows.stop, columns.start : columns.stop]
    return _times(resized, 1 / 255) if fractions else resized


def _middle(size: int, kept: int) -> range:
    """Of an axis of `size` the middle; where the margin is odd, the extra pixel is left out at the end."""
    start = (size - kept) // 2
    return range(start, start + kept)


def are_fractions(pixels: Pixels) -> bool:
    """Whether the numbers are fractions of 0 to 1 rather than whole numbers of 0 to 255; neither is an error."""
    if pixels.dtype == np.uint8:
        return False
    lowest, highest = pixels.min(), pixels.max()
    if lowest >= 0 and highest <= 255:
        if pixels.dtype.kind in "ui" or np.allclose(pixels, pixels.astype(int)):
            return False
        if highest <= 1:
            return True
    raise ValueError(
        f"the array holds {lowest:g} to {highest:g}; expected whole numbers of 0 to 255 or fractions of 0 to 1: "
        "convert it to uint8"
    )


def check_whole_numbers(pixels: Pixels, factor: float) -> None:
    """ValueError for whole numbers that `factor` does not bring to 0 to 1: they are no colours."""
    lowest, highest = sorted((float(pixels.min()) * factor, float(pixels.max()) * factor))
    if lowest < 0 or highest > 1 + 1e-6:
        raise ValueError(
            f"the array holds {pixels.min()} to {pixels.max()}, which rescale_factor={factor:g} takes to {lowest:g} "
            f"to {highest:g}; expected 0 to 1: scale it to uint8, or set rescale_factor"
        )


def warn_about_fractions(pixels: Pixels) -> None:
    """UserWarning for fractions of 0 to 1, which rescaling would make nearly black."""
    if pixels.any() and are_fractions(pixels):
        warnings.warn(
            "the image's numbers are fractions of 0 to 1 and do_rescale multiplies them by 1/255 once more; "
            "pass do_rescale=False if they are colours already",
            stacklevel=3,
        )


def center_crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """(H, W, 3) → (height, width, 3) around the middle; an image that is too small is put on zeros (black).

    Where the margin is odd, the extra pixel is cut off at the end, or filled at the start.
    """
    check_pixel_count(height, width, "the crop")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    inside = pixels[max(top, 0) : max(top, 0) + height, max(left, 0) : max(left, 0) + width]
    if inside.shape[:2] == (height, width):
        return inside
    canvas = np.zeros((height, width, 3), dtype=pixels.dtype)
    down, right = max(-top, 0), max(-left, 0)
    canvas[down : down + inside.shape[0], right : right + inside.shape[1]] = inside
    return canvas


def to_input(pixels: Pixels, scale: float | None, mean: Sequence[float] | None, std: Sequence[float] | None) -> NDArray:
    """(h, w, 3) → (3, h, w) float32: x · scale, then (x - mean) / std; None leaves a step out."""
    channels_first = pixels.transpose(2, 0, 1)
    out = np.array(channels_first, dtype=np.float32, order="C") if scale is None else _times(channels_first, scale)
    if mean is not None and std is not None:
        out -= np.array(mean, dtype=np.float32)[:, None, None]
        out /= np.array(std, dtype=np.float32)[:, None, None]
    return out


def _times(pixels: NDArray, factor: float) -> NDArray:
    """The product, taken in float64 and rounded once to float32 as in Transformers, without a float64 copy of all."""
    out = np.empty(pixels.shape, dtype=np.float32)
    np.multiply(pixels, factor, out=out, dtype=np.float64, casting="same_kind")
    return out
