"""Ways to resize a picture that are not Pillow's: without antialiasing, without bytes, from other samples."""

from collections.abc import Callable

import numpy as np

from aimv2_np.comparison.diagnosis.kernels import cubic, picking, stretching, triangle
from aimv2_np.comparison.diagnosis.originals import Resample, Shape
from aimv2_np.shapes import NDArray

Matrix = Callable[[int, int], NDArray]  # (old, new) → (new, old)
PILLOWS = cubic(-0.5)


def by(matrix: Matrix) -> Resample:
    """Resizing by a matrix for the rows and one for the columns, in float64."""

    def resample(pixels: NDArray, shape: Shape) -> NDArray:
        for size in shape:
            if size != len(pixels):  # an axis that keeps its size stays as it is
                weights = matrix(len(pixels), size)
                used = np.flatnonzero(weights.any(axis=0))
                pixels = np.tensordot(weights[:, used], pixels[used], 1)
            pixels = pixels.swapaxes(0, 1)  # rows, then columns
        return pixels

    return resample


def rounded(pixels: NDArray) -> NDArray:
    """Rounded to bytes."""
    return np.clip(np.floor(pixels + 0.5), 0, 255)


def limited(pixels: NDArray) -> NDArray:
    """What lies below 0 or above 255 is cut off."""
    return np.clip(pixels, 0, 255)


def cut_down(pixels: NDArray) -> NDArray:
    """Bytes, with fractions cut off."""
    result: NDArray = np.floor(np.clip(pixels, 0, 255))
    return result


def as_it_is(pixels: NDArray) -> NDArray:
    """Fractions, which may lie below 0 or above 255."""
    return pixels


BILINEAR = by(lambda old, new: stretching(old, new, kernel=triangle, reach=1, antialias=True))
BICUBIC = by(lambda old, new: stretching(old, new, kernel=PILLOWS, antialias=True))
FLOATS: dict[int, Resample] = {2: BILINEAR, 3: BICUBIC}
"""Pillow's number of a filter → the same before it is rounded to bytes."""

LINEAR = by(lambda old, new: stretching(old, new, kernel=triangle, reach=1))
CUBIC_PYTORCH = by(lambda old, new: stretching(old, new))
CUBIC_PILLOW = by(lambda old, new: stretching(old, new, kernel=PILLOWS))
LINEAR_CORNERS = by(lambda old, new: stretching(old, new, kernel=triangle, reach=1, corners=True))
CUBIC_CORNERS = by(lambda old, new: stretching(old, new, corners=True))
NEAREST_CORNER = by(lambda old, new: picking(old, new, centre=False))
