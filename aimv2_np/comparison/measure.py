"""How far two arrays are apart: the numbers of a comparison, from whole arrays or from their statistics."""

from dataclasses import dataclass
from math import inf, nan

import numpy as np

from aimv2_np.backends.dtypes import EPS, TINY
from aimv2_np.recording.statistics import Statistics
from aimv2_np.shapes import NDArray

# A row that is small beside the others is judged by this part of their size: what cancels has no digits left.
ROW_FLOOR = 0.1
# The worst row may be this much worse than all together.
ROW_FACTOR = 4.0


@dataclass(frozen=True)
class Measures:
    """How far an array b is from a reference a of the same shape.

    Attributes:
        max_abs: the largest |b - a|; from statistics alone a lower bound of it.
        relative: ‖b - a‖ / ‖a‖ (Frobenius); from statistics an estimate, to a fifth or so.
        worst_row: the same for the worst row (vector along the last axis), rows taken as at least a tenth as large as
            the average one; None from statistics.
        ulps: the largest |b - a| / ulp, of the dtype at a or at the average (rms) size, whichever is larger: a small
            number beside large ones carries their rounding. None from statistics.
        cosine: of the two flattened arrays.
        where: index of the largest error; None from statistics.
        nonfinite: how many elements are NaN or infinite in b and finite in a, or the other way round.
    """

    max_abs: float
    relative: float
    worst_row: float | None
    ulps: float | None
    cosine: float
    where: tuple[int, ...] | None
    nonfinite: int = 0

    def within(self, tolerance: float) -> bool:
        """Whether all this is rounding, where a relative error of `tolerance` is."""
        row = self.worst_row or 0.0
        return not self.nonfinite and self.relative <= tolerance and row <= ROW_FACTOR * tolerance


@np.errstate(all="ignore")
def measure_arrays(a: NDArray, b: NDArray, dtype: str) -> Measures:
    """`b` against the reference `a` of the same shape; errors in ulps are of `dtype`.

    Elements that are not finite in both (the same infinity, or NaN) count as equal; in one alone, as an infinite error.
    """
    if a.size == 0:
        return Measures(0.0, 0.0, 0.0, 0.0, 1.0, None)
    a, b = a.astype(np.float64), b.astype(np.float64)
    bad = (np.isfinite(a) != np.isfinite(b)) | (np.isinf(a) & np.isinf(b) & (a != b))
    nonfinite = int(bad.sum())
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(both, a, 0.0), np.where(both, b, 0.0)
    error = np.abs(b - a)
    if nonfinite:
        return Measures(inf, inf, inf, inf, _cosine(a, b), _index_of_largest(bad), nonfinite)
    size = _rms(a)
    return Measures(
        max_abs=float(error.max()),
        relative=_ratio(_rms(error), size),
        worst_row=_worst_row(a, error, size),
        ulps=float((error / _ulp(np.maximum(np.abs(a), size), dtype)).max()),
        cosine=_cosine(a, b),
        where=_index_of_largest(error),
    )


@np.errstate(all="ignore")
def rounding(a: NDArray, b: NDArray, tolerance: float) -> tuple[float, bool]:
    """Of `measure_arrays` the relative error, and whether all is rounding within a tolerance; nothing else is computed.

    For who asks it of one array after the other.
    """
    if a.size == 0:
        return 0.0, True
    a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        measures = measure_arrays(a, b, "float64")
        return measures.relative, measures.within(tolerance)
    error, size = np.abs(b - a), _rms(a)
    relative = _ratio(_rms(error), size)
    return relative, relative <= tolerance and _worst_row(a, error, size) <= ROW_FACTOR * tolerance


@np.errstate(all="ignore")
def measure_statistics(a: Statistics, b: Statistics, *, same_projection: bool = True) -> Measures:
    """Like `measure_arrays`, estimated from statistics; by their moments alone where projections cannot be compared."""
    summary = np.array([[s.mean, s.std, s.min, s.max, s.rms] for s in (a, b)])
    if not np.isfinite(summary).all():
        return _of_nonfinite(np.array_equal(*np.isfinite(summary)))
    count = min(len(a.first), len(b.first))
    rest = [np.concatenate([s.first[:count], s.projection[: len(s.projection) * same_projection]]) for s in (a, b)]
    if not np.isfinite(rest).all():  # overflowed float32, or a damaged file: no number to subtract
        return _of_nonfinite(np.array_equal(rest[0], rest[1], equal_nan=True))
    moments = np.abs(summary[1] - summary[0])
    first = np.abs(b.first[:count].astype(np.float64) - a.first[:count])
    max_abs = float(max(moments[2:4].max(), first.max(initial=0.0)))
    if not same_projection:
        relative = max(float(moments[[0, 1, 4]].max()), _rms(first))
        return Measures(max_abs, _ratio(relative, a.rms), None, None, nan, None)
    pa, pb = a.projection.astype(np.float64), b.projection.astype(np.float64)
    # The bound on the left costs no estimate: |rms(b) - rms(a)| ≤ rms(b - a).
    error = max(_rms(pb - pa), float(moments[4]))
    return Measures(max_abs, _ratio(error, a.rms), None, None, _cosine(pa, pb), None)


def smallest_cosine(a: NDArray, b: NDArray) -> float:
    """The smallest cosine between rows of a and b, (..., D)."""
    rows = [array.reshape(-1, array.shape[-1]).astype(np.float64) for array in (a, b)]
    products = [np.vecdot(x, y) for x, y in ((rows[0], rows[1]), (rows[0], rows[0]), (rows[1], rows[1]))]
    return float((products[0] / np.sqrt(np.maximum(products[1] * products[2], np.finfo(np.float64).tiny))).min())


def _of_nonfinite(same: bool) -> Measures:
    """Measures of statistics that are not finite: none apart if both sides are so in the `same` way."""
    error = 0.0 if same else inf
    return Measures(error, error, None, None, 1.0 if same else nan, None, int(not same))


def _index_of_largest(array: NDArray) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(int(array.argmax()), array.shape)))


def _ratio(error: float, size: float) -> float:
    return 0.0 if error == 0 else (error / size if size else inf)


def _rms(x: NDArray) -> float:
    """Scaled by its largest element first, so that no square overflows."""
    largest = float(np.abs(x).max()) if x.size else 0.0
    return largest * float(np.sqrt(np.mean(np.square(x / largest)))) if largest else 0.0


def _worst_row(a: NDArray, error: NDArray, size: float) -> float:
    if a.ndim == 0 or size == 0:
        return _ratio(_rms(error), size)
    rows = np.sqrt(np.mean(np.square(error / size), axis=-1))
    sizes = np.sqrt(np.mean(np.square(a / size), axis=-1))
    return float((rows / np.maximum(sizes, ROW_FLOOR)).max())


def _ulp(size: NDArray, dtype: str) -> NDArray:
    """The distance between neighbouring numbers of `dtype` around `size`."""
    exponent = np.floor(np.log2(np.maximum(size, TINY[dtype])))
    ulp: NDArray = np.exp2(exponent) * EPS[dtype]
    return ulp


def _cosine(a: NDArray, b: NDArray) -> float:
    sizes = _rms(a), _rms(b)
    return float(np.mean((a / sizes[0]) * (b / sizes[1]))) if all(sizes) else float(sizes[0] == sizes[1])
