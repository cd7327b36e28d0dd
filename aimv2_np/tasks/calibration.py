"""Calibration: whether a classifier that is 90 % sure is right nine times out of ten.

    ECE = Σ_b |b|/M · |right(b) - confidence(b)|

Pictures are put into bins b by how probable their most probable class is; of each bin the share that is right is
compared with the mean of these probabilities. Guo et al. 2017 (arXiv:1706.04599), eq. 3, with 15 bins of equal width.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15


@dataclass(frozen=True, eq=False)
class Calibration:
    """The reliability table of M pictures.

    Attributes:
        edges: (bins + 1,), from 0 to 1; a bin holds what is above its lower edge, up to its upper one.
        counts: (bins,), how many pictures are in each.
        confidence: (bins,), the mean probability of their most probable class; 0 of an empty bin.
        right: (bins,), the share of them that are of that class; 0 of an empty bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.intp]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error, from 0 to 1. See docs/equations.md, (45)."""
        return float((self.counts * abs(self.right - self.confidence)).sum() / self.counts.sum())


def calibration(probabilities: NDArray[Any], actual: NDArray[np.intp], bins: int = BINS) -> Calibration:
    """The reliability table of pictures whose classes are known.

    Args:
        probabilities: (M, C), of each class, each row summing to 1.
        actual: (M,), the number of the class that each picture is of.
        bins: how many.
    """
    edges = np.linspace(0, 1, bins + 1)
    surest, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == actual
    bin_of = np.clip(np.searchsorted(edges, surest, side="left") - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    shares = [np.bincount(bin_of, of, minlength=bins) / np.maximum(counts, 1) for of in (surest, right)]
    return Calibration(edges, counts, *shares)
