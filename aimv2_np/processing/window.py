"""Part of an enlarged image, computed without the rest: equal to the bit to cutting it out of Pillow's resize.

    out_j = clip(round(Σ_x k_jx · in_x / 2²²), 0, 255)     k_jx = round(2²² · w_jx / Σ_x w_jx)
    w_jx  = f(x + ½ - c_j)                                 c_j = (j + ½) · in / out

along the rows, then along the columns, each pass rounded to 8 bits. That is Pillow's `Resample.c`, whose `box` argument
does not do: it moves the centres c_j by a rounding, and so now and then a pixel by one. An image of 1 x 300 pixels
whose short edge becomes 336 would have 34 million pixels before all but 336 x 336 are cut off. Images that shrink are
left to Pillow: what comes out is smaller than what is there already, and from Pillow 13 on the columns may go first.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ONE: Final = 2.0**22  # Pillow's fixed point: 32 bits less 8 of a pixel and 2 of room
TOGETHER: Final = 16  # outputs of one matrix product: their inputs overlap, and all else of the matrix is zero

# libm's functions, which Pillow uses; NumPy's own may differ from them in the last digit.
_sin, _cos = np.vectorize(math.sin, otypes=[float]), np.vectorize(math.cos, otypes=[float])


def _sinc(x: Floats) -> Floats:
    angle = np.where(x == 0, 1.0, x * math.pi)
    return np.where(x == 0, 1.0, _sin(angle) / angle)


def _lanczos(x: Floats) -> Floats:
    return np.where((x >= -3) & (x < 3), _sinc(x) * _sinc(x / 3), 0.0)


def _bilinear(x: Floats) -> Floats:
    return np.maximum(1 - abs(x), 0)


def _bicubic(x: Floats) -> Floats:
    a, x = -0.5, abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _box(x: Floats) -> Floats:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _hamming(x: Floats) -> Floats:
    angle = np.where(x == 0, 1.0, abs(x) * math.pi)
    window = float(np.float32(0.54)) + float(np.float32(0.46)) * _cos(angle)  # float32 constants in Pillow
    return np.where(x == 0, 1.0, np.where(abs(x) < 1, _sin(angle) / angle * window, 0.0))


# Pillow's number of the filter → the filter, and beyond which |x| it is zero. Nearest (0) is no filter.
FILTERS: Final[dict[int, tuple[Callable[[Floats], Floats], float]]] = {
    1: (_lanczos, 3.0), 2: (_bilinear, 1.0), 3: (_bicubic, 2.0), 4: (_box, 0.5), 5: (_hamming, 1.0),
}  # fmt: skip


def resize_window(
    pixels: NDArray[np.uint8], shape: tuple[int, int], rows: range, columns: range, resample: int
) -> NDArray[np.uint8]:
    """(H, W, C) → (len(rows), len(columns), C): these rows and columns of the image enlarged to `shape`.

    Time and memory depend on what is kept alone. `shape` is at least H x W; `resample` is the number of one of
    `FILTERS`.
    """
    height, width, _ = pixels.shape
    starts, stops, weights = _weights(height, shape[0], rows, resample)
    needed = pixels[starts.min() : stops.max()].transpose(1, 0, 2)
    across = _product(needed, *_weights(width, shape[1], columns, resample)).transpose(1, 0, 2)
    return _product(across, starts - starts.min(), stops - starts.min(), weights)


def _weights(
    size: int, out: int, wanted: range, resample: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each of n wanted outputs of an axis of `size` inputs: its first input, the one after its last, and what each
    counts, (n, most inputs): whole numbers, to be divided by 2²². In the order of Pillow's operations.
    """
    if size == out:  # Pillow leaves this pass out
        first = np.array(wanted, np.int64)
        return first, first + 1, np.full((len(wanted), 1), ONE)
    function, reach = FILTERS[resample]
    centers = (np.array(wanted, np.float64) + 0.5) * (float(np.float32(size)) / out)  # the box is float32 there
    starts = np.maximum(np.trunc(centers - reach + 0.5), 0)
    stops = np.minimum(np.trunc(centers + reach + 0.5), size)
    taps = np.arange(int((stops - starts).max()), dtype=np.float64)
    weights = function(taps + starts[:, None] - centers[:, None] + 0.5)
    weights[taps >= (stops - starts)[:, None]] = 0
    sums = np.add.accumulate(weights, axis=1)[:, -1:]  # one after the other, not pairwise
    weights /= np.where(sums == 0, 1, sums)
    return starts.astype(np.int64), stops.astype(np.int64), np.trunc(weights * ONE + np.copysign(0.5, weights))


def _product(
    pixels: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64], weights: Floats
) -> NDArray[np.uint8]:
    """(I, A, C) → (n, A, C): output j is Σ_t weights[j, t] · pixels[starts[j] + t] / 2²², rounded to 8 bits.

    Exact: products and sums of whole numbers below 2⁵³.
    """
    count, (_, across, channels) = len(starts), pixels.shape
    result = np.empty((count, across, channels), np.uint8)
    for begin in range(0, count, TOGETHER):
        some = slice(begin, begin + TOGETHER)
        low, high = int(starts[some].min()), int(stops[some].max())
        matrix = np.zeros((len(starts[some]), high - low))
        for row, (start, stop) in enumerate(zip(starts[some], stops[some], strict=True)):
            matrix[row, start - low : stop - low] = weights[begin + row, : stop - start]
        sums = matrix @ pixels[low:high].astype(np.float64).reshape(high - low, across * channels)
        result[some] = np.clip(np.floor(sums / ONE + 0.5), 0, 255).reshape(-1, across, channels)
    return result
