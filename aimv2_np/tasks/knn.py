"""k-nearest-neighbour classification: a picture is what the pictures most like it are, by features alone.

    d_mn = 1 - <x_m, y_n> / (‖x_m‖ ‖y_n‖),    class_m = argmax_c Σ_{n ∈ N_k(m), class_n = c} w(d_mn)

    uniform   w = 1
    distance  w = 1 / d, as scikit-learn has it: where distances are zero, those neighbours alone count
    softmax   w = e^((1 - d) / τ), τ = 0.07: Wu et al. 2018 (arXiv:1805.01978), section 3.4, and DINO's protocol

All distances are computed, in float64 and block by block: no neighbour is missed. Nothing is trained, so the accuracy
measures the features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.parallel import parts, run, usable_cores
from aimv2_np.tasks.judged import Judged, checked_labels, class_numbers

NEIGHBOURS: Final = 20
TEMPERATURE: Final = 0.07
QUERIES: Final = 1024  # pictures that a thread classifies at a time
BLOCK: Final = 2**21  # numbers of features, or distances, that it holds at a time: 16 MiB


Floats = NDArray[np.float64]


def _inverse(distances: Floats) -> Floats:
    same = distances == 0
    with np.errstate(divide="ignore"):
        return np.where(same.any(axis=1, keepdims=True), same, 1 / distances)


# Softmax against the nearest: sums of weights are compared within a row, and none overflows.
WEIGHTS: Final[dict[str, Callable[[Floats], Floats]]] = {
    "uniform": np.ones_like,
    "distance": _inverse,
    "softmax": lambda distances: np.exp((distances.min(axis=1, keepdims=True) - distances) / TEMPERATURE),
}


@dataclass(frozen=True, eq=False)
class KnnResult(Judged):
    """What k-nearest neighbours make of pictures; `shares` are the neighbours' weights per class.

    Attributes:
        k: how many neighbours were asked.
    """

    k: int


@own_arithmetic()
def knn(
    train: Any,
    train_labels: Sequence[str],
    test: Any,
    test_labels: Sequence[str] | None = None,
    *,
    k: int | None = None,
    weights: str = "softmax",
) -> KnnResult:
    """Classify the pictures of `test` by their nearest neighbours in `train`.

    Args:
        train: (N, D) features; their length does not matter.
        train_labels: N classes.
        test: (M, D) features of the same kind.
        test_labels: M classes, if they are known; each must be one of `train_labels`.
        k: how many neighbours; None for 20, or all of fewer.
        weights: "uniform", "distance" or "softmax": how neighbours count. Equal sums go to the class that sorts first.

    Raises:
        ValueError: features that do not fit each other or are zero or not finite; other numbers of labels; a class
            that `train` lacks; `k` below 1 or above N; weights that there are not.
    """
    near, far = _checked(train, "train"), _checked(test, "test")
    if near.shape[1] != far.shape[1]:
        raise ValueError(
            f"train has vectors of {near.shape[1]} numbers and test of {far.shape[1]}; they cannot be compared"
        )
    classes = tuple(sorted(set(checked_labels(train_labels, len(near), "train_labels"))))
    actual = None
    if test_labels is not None:
        actual = class_numbers(checked_labels(test_labels, len(far), "test_labels"), classes)
    count = min(NEIGHBOURS, len(near)) if k is None else k
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(near):
        raise ValueError(f"k is {k!r:.80}; expected a whole number from 1 to {len(near)}, the pictures of train")
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r:.80}; expected one of {', '.join(WEIGHTS)}")
    own = class_numbers(train_labels, classes)
    shares = np.zeros((len(far), len(classes)))

    def vote(some: slice) -> None:
        distances, rows = _nearest(unit_rows(far[some]), near, count)
        np.add.at(shares[some], (np.arange(len(rows))[:, None], own[rows]), WEIGHTS[weights](distances))

    pieces = parts(len(far), max(usable_cores(), -(-len(far) // QUERIES)))
    run([partial(vote, some) for some in pieces], usable_cores())
    shares /= shares.sum(axis=1, keepdims=True)
    return KnnResult(classes, shares.argmax(axis=1), shares, actual, count)


def _nearest(queries: Floats, near: NDArray[Any], k: int) -> tuple[Floats, NDArray[np.intp]]:
    """(m, k) distances, and the rows of `near` that they are to: the best of each block with the best so far."""
    best: Floats = np.empty((len(queries), 0))
    rows: NDArray[np.intp] = np.empty((len(queries), 0), np.intp)
    step = max(1, BLOCK // max(near.shape[1], len(queries)))
    for start in range(0, len(near), step):
        found = 1 - queries @ unit_rows(near[start : start + step]).T
        np.clip(found, 0, 2, out=found)  # rounding: a vector and itself
        best = np.concatenate([best, found], axis=1)
        here = np.broadcast_to(np.arange(start, start + found.shape[1]), found.shape)
        rows = np.concatenate([rows, here], axis=1)
        if best.shape[1] > k:
            chosen = np.argpartition(best, k - 1, axis=1)[:, :k]
            best, rows = np.take_along_axis(best, chosen, axis=1), np.take_along_axis(rows, chosen, axis=1)
    return best, rows


def _checked(features: Any, name: str) -> NDArray[Any]:
    vectors = np.asarray(features)
    if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} is {vectors.dtype} of shape {vectors.shape}; expected a vector for each picture, (pictures, D)"
        )
    largest = np.maximum(vectors.max(axis=1), -vectors.min(axis=1))
    bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
    if bad.size:
        raise ValueError(f"{name} holds a vector (row {bad[0]}) that is zero or not finite, and has no direction")
    return vectors


def unit_rows(vectors: NDArray[Any]) -> Floats:
    """Rows, none of which is zero, at length one, in float64."""
    wide = vectors.astype(np.float64)
    wide /= np.abs(wide).max(axis=1, keepdims=True)  # whose squares then fit
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide
