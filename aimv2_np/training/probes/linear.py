"""The linear probe: multinomial logistic regression on one vector per picture.

    L(W, b) = mean_n -ln softmax(W z_n + b)_t(n) + λ/2 ‖W‖²          z = (x - μ) / σ

Cox 1958; μ and σ are the mean and the deviation of each number over the training pictures, and go into W and b in the
end. L is convex; Newton's method finds its one minimum: each step solves ∇²L s = -∇L by conjugate gradients, which need
the Hessian's product with a vector only,

    ∇²L V = mean_n (p_n ∘ u_n - p_n (p_n · u_n)) z_nᵀ + λ V           u = V z, p = softmax(W z + b)

and are stopped early where the step will not be exact anyway (Nocedal & Wright 2006, section 7.1). Everything is
computed in float64. With λ = 1/(C·N) it is scikit-learn's `LogisticRegression(C=C)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.parallel import one_blas_thread, parts, pieces, run, usable_cores
from aimv2_np.network.linear import Linear
from aimv2_np.tasks.judged import class_numbers
from aimv2_np.training.probes.held_out import Tried, best, checked_classes, hold_out, score

# λ, from strong to weak: each begins with the weights of the one before.
STRENGTHS: Final = tuple(10.0**-i for i in range(7))
TOLERANCE: Final = 1e-6  # of the distance to the minimum, relative to the length of W
ROUGH: Final = 1e-3  # the same, where settings are chosen
SLICES: Final = 8  # of the pictures; sums over them are taken in the same order however many cores there are
BLOCK: Final = 2**18  # numbers of features that a thread converts at a time
KEPT: Final = 2**26  # numbers of features that are kept converted: 512 MiB
STEPS, HALVINGS, PRODUCTS = 100, 40, 500  # at most

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A linear probe that was trained.

    Attributes:
        classes: of the training pictures, sorted.
        network: the map of features as they are, not standardised.
        strength: λ.
        tried: what was tried on pictures that were held out; empty where λ was given.
    """

    classes: tuple[str, ...]
    network: Linear
    strength: float
    tried: tuple[Tried, ...]


@own_arithmetic()
def train_linear_probe(
    features: Any,
    labels: Sequence[str],
    *,
    strength: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LinearFit:
    """Train a linear probe.

    Args:
        features: (N, D).
        labels: N classes.
        strength: λ, how strongly weights are held small; None: that of `STRENGTHS` which does best on a fifth of the
            pictures, which are held out; all are trained on then.
        seed: which are held out.
        progress: called with how many trainings are done, and of how many.

    Raises:
        ValueError: features that are none or not finite; fewer than two classes; λ that is not above 0; λ is to be
            chosen, and there is one picture of each class only.
    """
    vectors = checked_vectors(features)
    classes = checked_classes(labels, len(vectors))
    own = class_numbers(labels, classes)
    if strength is not None and not 0 < strength < float("inf"):
        raise ValueError(f"strength is {strength}; expected a number above 0")
    tell = progress or (lambda done, total: None)
    tried: tuple[Tried, ...] = ()
    with one_blas_thread():
        if strength is None:
            tried = try_strengths(vectors, own, len(classes), seed, tell)
            strength = STRENGTHS[best(tried)]
        tell(len(tried), len(tried) + 1)
        every = Problem(vectors, own, len(classes))
        network = every.unstandardised(minimize(every, strength, TOLERANCE))
        tell(len(tried) + 1, len(tried) + 1)
    return LinearFit(classes, network, strength, tried)


def try_strengths(
    vectors: NDArray[Any], own: NDArray[np.intp], classes: int, seed: int, tell: Callable[[int, int], None]
) -> tuple[Tried, ...]:
    """How well each of `STRENGTHS` does on pictures that are held out."""
    kept, held = hold_out(own, seed)
    problem, theta = Problem(vectors[kept], own[kept], classes), None
    tried = []
    for number, strength in enumerate(STRENGTHS):
        tell(number, len(STRENGTHS) + 1)
        theta = minimize(problem, strength, ROUGH, theta)
        tried.append(score({"strength": strength}, problem.logits(theta, vectors[held]), own[held]))
    return tuple(tried)


def checked_vectors(features: Any) -> NDArray[Any]:
    """The features as an array (N, D); ValueError for what is none, or holds NaN or infinity."""
    vectors = np.asarray(features)
    if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind not in "fiu":
        raise ValueError(
            f"features is {vectors.dtype} of shape {vectors.shape}; expected a vector for each picture, (pictures, D)"
        )
    for some in pieces(len(vectors), max(1, BLOCK // vectors.shape[1])):
        bad = np.flatnonzero(~np.isfinite(vectors[some]).all(axis=1))
        if bad.size:
            raise ValueError(
                f"features of picture {some.start + bad[0]} hold NaN or infinity; embed the pictures again, and see "
                "whether the model is sound"
            )
    return vectors


@dataclass
class Problem:
    """L without its second term, its gradient and its Hessian's product, for N pictures of C classes.

    θ is (C, D + 1): W, and b in the last column.
    """

    vectors: NDArray[Any]
    own: NDArray[np.intp]
    classes: int
    probs: Floats = field(init=False)  # (N, C), at the last θ

    def __post_init__(self) -> None:
        count, self.size = self.vectors.shape
        self.slices = parts(count, SLICES)
        self.workers = usable_cores() if self.vectors.size > BLOCK else 1
        self.probs = np.empty((count, self.classes))
        self.mean, self.deviation = self._moments()
        self.kept = self._standardised(slice(None)) if self.vectors.size <= KEPT else None

    def _moments(self) -> tuple[Floats, Floats]:
        """Mean and deviation of each number; a number that is always the same has the deviation 1."""
        sums = np.zeros(self.size)
        for some in self._blocks(slice(0, len(self.vectors))):
            sums += self.vectors[some].sum(axis=0, dtype=np.float64)
        mean = sums / len(self.vectors)
        squares = np.zeros(self.size)
        for some in self._blocks(slice(0, len(self.vectors))):
            squares += ((self.vectors[some] - mean) ** 2).sum(axis=0)
        deviation = np.sqrt(squares / len(self.vectors))
        return mean, np.where(deviation <= 1e-12 * abs(mean), 1.0, deviation)

    def _blocks(self, rows: slice) -> list[slice]:
        step = max(1, BLOCK // self.size)
        return [slice(rows.start + it.start, rows.start + it.stop) for it in pieces(rows.stop - rows.start, step)]

    def _standardised(self, rows: slice) -> Floats:
        result: Floats = self.vectors[rows].astype(np.float64)
        result -= self.mean
        result /= self.deviation
        return result

    def _over(self, each: Callable[[slice, Floats], tuple[float, Floats]]) -> tuple[float, Floats]:
        """The sums over all pictures of what `each` makes of rows, and their standardised features (m, D)."""
        found: list[tuple[float, Floats]] = [(0.0, np.zeros((self.classes, self.size + 1)))] * len(self.slices)

        def work(number: int) -> None:
            value, matrix = 0.0, np.zeros((self.classes, self.size + 1))
            for rows in self._blocks(self.slices[number]):
                one, part = each(rows, self.kept[rows] if self.kept is not None else self._standardised(rows))
                value += one
                matrix += part
            found[number] = value, matrix

        run([partial(work, number) for number in range(len(self.slices))], self.workers)
        count = len(self.vectors)
        return sum(value for value, _ in found) / count, np.sum([matrix for _, matrix in found], axis=0) / count

    def value_and_gradient(self, theta: Floats) -> tuple[float, Floats]:
        """The mean surprise, and its derivative by θ (31); keeps the probabilities."""

        def each(rows: slice, z: Floats) -> tuple[float, Floats]:
            logits = z @ theta[:, :-1].T + theta[:, -1]
            logits -= logits.max(axis=1, keepdims=True)
            here, true = np.arange(len(z)), self.own[rows]
            at_true = logits[here, true].sum()
            np.exp(logits, out=logits)
            sums = logits.sum(axis=1, keepdims=True)
            logits /= sums
            self.probs[rows] = logits
            logits[here, true] -= 1
            return float(np.log(sums).sum() - at_true), _back(logits, z)

        return self._over(each)

    def product(self, v: Floats) -> Floats:
        """The Hessian times V, both of the shape of θ. See docs/equations.md, (44)."""

        def each(rows: slice, z: Floats) -> tuple[float, Floats]:
            u, p = z @ v[:, :-1].T + v[:, -1], self.probs[rows]
            u -= (p * u).sum(axis=1, keepdims=True)
            u *= p
            return 0.0, _back(u, z)

        return self._over(each)[1]

    def logits(self, theta: Floats, vectors: NDArray[Any]) -> Floats:
        """(M, C) of features that are not standardised."""
        network = self.unstandardised(theta, np.float64)
        logits: Floats = vectors.astype(np.float64) @ network.weight.T + network.bias
        return logits

    def unstandardised(self, theta: Floats, dtype: Any = np.float32) -> Linear:
        """The linear map of features as they are; the biases' sum, which says nothing, is 0."""
        weight = theta[:, :-1] / self.deviation
        bias = theta[:, -1] - weight @ self.mean
        return Linear(weight.astype(dtype), (bias - bias.mean()).astype(dtype))


def _back(u: Floats, z: Floats) -> Floats:
    return np.concatenate([u.T @ z, u.sum(axis=0)[:, None]], axis=1)


def minimize(problem: Problem, strength: float, tolerance: float, theta: Floats | None = None) -> Floats:
    """θ at the minimum of L, to `tolerance` of the length of W: L curves by λ at least, so W is at most ‖∇L‖/λ away."""
    theta = np.zeros((problem.classes, problem.size + 1)) if theta is None else theta
    held = strength * np.append(np.ones(problem.size), 0.0)  # biases are free

    def at(theta: Floats) -> tuple[float, Floats]:
        value, gradient = problem.value_and_gradient(theta)
        return value + float((held * theta * theta).sum()) / 2, gradient + held * theta

    value, gradient = at(theta)
    first = float(np.linalg.norm(gradient))
    for _ in range(STEPS):
        length = float(np.linalg.norm(gradient))
        if length <= max(tolerance * strength * float(np.linalg.norm(theta[:, :-1])), 1e-15 * first):
            break
        exact = min(0.3, sqrt(length / first)) * length
        step = _solve(lambda v: problem.product(v) + held * v, gradient, max(exact, 1e-16))
        slope = float((step * gradient).sum())
        for halving in range(HALVINGS):
            shorter = 0.5**halving
            there, its_gradient = at(theta + shorter * step)
            if there <= value + 1e-4 * shorter * slope + 4e-16 * abs(value):
                break
        else:  # no lower place can be told from this one: rounding
            break
        theta, value, gradient = theta + shorter * step, there, its_gradient
    return theta


def _solve(product: Callable[[Floats], Floats], gradient: Floats, exact: float) -> Floats:
    """s with ‖∇²L s + ∇L‖ ≤ `exact`, by conjugate gradients (Hestenes & Stiefel 1952)."""
    step = np.zeros_like(gradient)
    left = -gradient
    direction = left.copy()
    squared = float((left * left).sum())
    for _ in range(PRODUCTS):
        if sqrt(squared) <= exact:
            break
        curved = product(direction)
        curvature = float((direction * curved).sum())
        if curvature <= 0:  # rounding: L is convex
            break
        pace = squared / curvature
        step += pace * direction
        left -= pace * curved
        before, squared = squared, float((left * left).sum())
        direction = left + squared / before * direction
    return step if step.any() else -gradient
