"""Ways to stretch an axis, as matrices: by kernels, by the nearest sample, by means."""

from collections.abc import Callable
from math import ceil, floor

import numpy as np

from aimv2_np.shapes import Array


def cubic(a: float) -> Callable[[float], float]:
    """The kernel of cubic convolution; Keys 1981, eq. 15, has a = -1/2, PyTorch -3/4."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s <= 1:
            return (a + 2) * s**3 - (a + 3) * s**2 + 1
        return a * (s**3 - 5 * s**2 + 8 * s - 4) if s < 2 else 0.0

    return kernel


def mitchell(b: float, c: float) -> Callable[[float], float]:
    """The cubic kernels of Mitchell & Netravali 1988, eq. 8."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s <= 1:
            return ((12 - 9 * b - 6 * c) * s**3 + (-18 + 12 * b + 6 * c) * s**2 + 6 - 2 * b) / 6
        far = (-b - 6 * c) * s**3 + (6 * b + 30 * c) * s**2 + (-12 * b - 48 * c) * s + 8 * b + 24 * c
        return far / 6 if s < 2 else 0.0

    return kernel


def lanczos(s: float) -> float:
    """The kernel of Lanczos of three lobes."""
    return float(np.sinc(s) * np.sinc(s / 3)) if abs(s) < 3 else 0.0


TORCH = cubic(-0.75)


def triangle(s: float) -> float:
    """The kernel of linear interpolation."""
    return max(0.0, 1 - abs(s))


def stretching(
    old: int,
    new: int,
    *,
    kernel: Callable[[float], float] = TORCH,
    reach: int = 2,
    corners: bool = False,
    antialias: bool = False,
    clipped: bool = True,
    offset: float = 0.0,
    whole: bool = True,
) -> Array:
    """The matrix (new, old) that stretches one axis.

    Args:
        kernel, reach: the weight at a distance, and the distance from which on it is zero.
        corners: whether the first and last samples of both fall together (`align_corners`).
        antialias: whether the kernel is widened when the axis shrinks, and cut at the edges as Pillow cuts it.
        clipped: whether samples beyond the edges repeat the last one; else they are left out and the rest add to one.
        offset: added to `new` in the scale, as DINO's 0.1 is.
        whole: whether the weights of each new sample are made to add up to one.
    """
    scale = (old - 1) / (new - 1) if corners and new > 1 else old / (new + offset)
    wide = max(scale, 1.0) if antialias else 1.0
    matrix = np.zeros((new, old))
    for i in range(new):
        x = i * scale if corners else (i + 0.5) * scale - 0.5
        for j in range(floor(x - reach * wide), ceil(x + reach * wide) + 1):
            weight = kernel((x - j) / wide)
            if antialias or not clipped:
                if 0 <= j < old:
                    matrix[i, j] += weight
            else:
                matrix[i, min(max(j, 0), old - 1)] += weight
    return matrix / matrix.sum(axis=1, keepdims=True) if whole else matrix


def picking(old: int, new: int, *, centre: bool) -> Array:
    """The matrix (new, old) that takes the nearest sample: of the left edge of each, or of its centre."""
    index = [min(floor((i + 0.5 * centre) * old / new), old - 1) for i in range(new)]
    return np.eye(old)[index]


def averaging(old: int, new: int, *, whole: bool) -> Array:
    """The matrix (new, old) that takes the mean of the samples that a new one covers, `whole` or in part."""
    edges = np.arange(new + 1) * old / new
    covered = np.minimum(edges[1:, None], np.arange(1, old + 1)) - np.maximum(edges[:-1, None], np.arange(old))
    matrix = np.where(covered > 1e-9, 1.0 if whole else covered, 0.0)
    return matrix / matrix.sum(axis=1, keepdims=True)
