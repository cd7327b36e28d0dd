"""What a recording keeps of an array that it does not keep whole: a few numbers that still tell two arrays apart.

The projection multiplies the flattened array x of n numbers with a sparse random matrix, one ±1 per column
(feature hashing, Weinberger et al. 2009, arXiv:0902.2206, eq. 2):

    y_b = √(64/n) · Σ_{i: bucket(i) = b} sign(i) · x_i            b = 0 … 63

Bucket and sign of element i are bits of a hash of i and of the activation's path, so every run of every
implementation draws the same matrix. The scale makes the mean of y² the mean of x² in expectation, and as y is linear,
rms(y(a) - y(b)) estimates rms(a - b) itself, to a fifth or so (√(2/64)), from 64 numbers of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from aimv2_np.shapes import NDArray
from aimv2_np.tree.trace import GRADIENT

BUCKETS = 64
FIRST = 16
PIECE = 2**16  # elements: temporary arrays stay this small however large the array is


@dataclass(frozen=True, eq=False)
class Statistics:
    """An array in brief. All numbers are of the array's values in float64; an empty array has zeros.

    Attributes:
        shape: of the whole array.
        mean, std, min, max, rms: of all elements; NaN or infinite where the array is.
        first: the first 16 elements (or fewer, if there are no more), flattened, row-major, float32.
        projection: (64,) float32, the random projection above.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    min: float
    max: float
    rms: float
    first: NDArray
    projection: NDArray


def summarize(path: str, array: NDArray) -> Statistics:
    """The statistics of the activation `array` recorded under `path`, which seeds the projection."""
    flat = np.asarray(array).reshape(-1)
    with np.errstate(all="ignore"):  # an array that overflowed is recorded as such, without complaints
        numbers = _moments(flat) if flat.size else (0.0,) * 5
        first = np.zeros(min(FIRST, flat.size), np.float32)
        first[:] = flat[:FIRST]
        return Statistics(np.shape(array), *numbers, first, project(path, flat))


def project(path: str, array: NDArray) -> NDArray:
    """The random projection of an array of any shape to (64,) float32; computed in float64, in bounded pieces."""
    flat, sums = np.asarray(array).reshape(-1), np.zeros(BUCKETS)
    with np.errstate(all="ignore"):
        for start, piece in _pieces(flat):
            bits = hash_bits(path, start, piece.size)
            sums += np.bincount(bits >> np.uint32(26), np.where(bits & np.uint32(1), -piece, piece), BUCKETS)
        scaled: NDArray = sums * np.sqrt(BUCKETS / max(1, flat.size))
        return scaled.astype(np.float32)


def hash_bits(path: str, start: int, count: int) -> NDArray:
    """32 bits for each of the elements `start`, `start + 1`, …: MurmurHash3's finaliser of index + crc32(path).

    The upper six bits are the element's bucket, the lowest is set for a minus. The path of a gradient is that of what
    it is by.
    """
    seed = np.uint32(crc32(path.removeprefix(GRADIENT).encode()))
    h = np.arange(start, start + count, dtype=np.uint64).astype(np.uint32) + seed
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def _moments(flat: NDArray) -> tuple[float, float, float, float, float]:
    """mean, std, min, max, rms; the deviations in a second pass, which loses no digits to a large mean."""
    parts = np.array([(x.sum(), np.square(x).sum(), x.min(), x.max()) for _, x in _pieces(flat)])
    mean, rms = parts[:, 0].sum() / flat.size, np.sqrt(parts[:, 1].sum() / flat.size)
    deviation = sum(float(np.square(x - mean).sum()) for _, x in _pieces(flat))
    std = np.sqrt(deviation / flat.size)
    return float(mean), float(std), float(parts[:, 2].min()), float(parts[:, 3].max()), float(rms)


def _pieces(flat: NDArray) -> Iterator[tuple[int, NDArray]]:
    for start in range(0, flat.size, PIECE):
        yield start, flat[start : start + PIECE].astype(np.float64)
