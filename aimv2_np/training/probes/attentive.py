"""Training attentive probes: AdamW over a grid of rates and decays, all of them on the same batches at once.

The settings are those of AIMv2's table A2 (arXiv:2411.14402): seven learning rates times two decays, β 0.9/0.999,
gradients clipped at 3, a cosine to 1e-5 over 100 epochs, 5 of which warm up. In training the tokens of a batch, or of
the part of it that fits into memory, are normalised by their own mean and variance, as PyTorch's batch normalisation
does; the probe keeps those of all pictures that it was trained on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.parallel import one_blas_thread, parts, pieces, run, usable_cores
from aimv2_np.gradients import value_and_grad
from aimv2_np.network.cross_entropy import cross_entropy
from aimv2_np.network.linear import Linear
from aimv2_np.network.probe import AttentiveProbe, BatchNorm, batch_norm, gather
from aimv2_np.processing.settings import as_count
from aimv2_np.shapes import Array
from aimv2_np.tasks.judged import class_numbers
from aimv2_np.tasks.probe import EPS, NUMBERS, padded
from aimv2_np.training.batches import numbers
from aimv2_np.training.diverged import DivergedError
from aimv2_np.training.optimizer import AdamW, clip, gradient_norm
from aimv2_np.training.probes.held_out import Tried, best, checked_classes, hold_out, score
from aimv2_np.training.schedule import Schedule
from aimv2_np.tree.module import Module

RATES: Final = (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3)
DECAYS: Final = (0.05, 0.1)
EPOCHS, WARMUP, LAST, CLIP = 100, 0.05, 1e-5, 3.0
LARGEST_BATCH, SMALLEST_BATCH, BATCHES = 1024, 16, 8  # of fewer pictures than the paper's, about 8 batches an epoch
HEAD: Final = 128  # numbers of a head in all of Apple's models, and at least four heads
GROUP: Final = 2**25  # weights of probes that are trained at once: 128 MiB, and three times as much for AdamW

Arrays = dict[str, Array]


@dataclass(frozen=True, eq=False)
class AttentiveFit:
    """An attentive probe that was trained.

    Attributes:
        classes: of the training pictures, sorted.
        network: the probe of the settings that did best on the pictures that were held out.
        tried: all settings, in order.
        chosen: the number of these settings.
    """

    classes: tuple[str, ...]
    network: AttentiveProbe
    tried: tuple[Tried, ...]
    chosen: int


@dataclass(repr=False, eq=False)
class Probes(Module):
    """Probes of equal sizes, which see the same tokens."""

    probes: list[AttentiveProbe]

    def forward(self, x: Array, keys: Array | None = None) -> list[Array]:
        """The logits of each, of tokens that are normalised."""
        directions, heads = [probe.directions() for probe in self.probes], self.probes[0].heads
        gathered = gather(x, namespace(directions[0]).concatenate(directions), keys)  # all of them by one product
        return [probe.classify(gathered[:, i * heads : (i + 1) * heads]) for i, probe in enumerate(self.probes)]


@own_arithmetic()
def train_attentive_probe(
    tokens: Any,
    labels: Sequence[str],
    *,
    rates: Sequence[float] = RATES,
    decays: Sequence[float] = DECAYS,
    epochs: int = EPOCHS,
    batch_size: int | None = None,
    heads: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> AttentiveFit:
    """Train attentive probes with all settings on four fifths of the pictures; the one that does best on the rest.

    Args:
        tokens: (T, D) of each of N pictures: an array (N, T, D), or a sequence of arrays, read when they are needed.
        labels: N classes.
        rates, decays: the settings: each rate with each decay.
        epochs: how often each picture is seen.
        batch_size: pictures in a step; None: an eighth of them, 16 at least and 1024 at most.
        heads: queries, a divisor of D; None: one for every 128 numbers, as the trunk has, and at least four.
        seed: of the first weights, the order, and which pictures are held out.
        progress: called with how many steps are done, and of how many.

    Raises:
        ValueError: tokens that are none, of several widths, or not finite; fewer than two classes, or one picture of
            each; numbers that make no sense.
        DivergedError: a loss is NaN or infinite.
    """
    classes = checked_classes(labels, len(tokens))
    own = class_numbers(labels, classes)
    size = _width(tokens)
    kept, held = hold_out(own, seed)
    batch = as_count(_batch_size(len(kept)) if batch_size is None else batch_size, "batch_size")
    steps = -(-as_count(epochs, "epochs") * len(kept) // min(batch, len(kept)))
    first = first_probe(size, len(classes), _heads(size, heads), seed, *moments(tokens, kept, size))
    settings = list(product(rates, decays))
    schedules = [Schedule(steps, rate, round(WARMUP * steps), min(1e-6, rate), min(LAST, rate)) for rate, _ in settings]
    some = Examples(tokens, own, kept, min(batch, len(kept)), seed)
    tried: list[Tried] = []
    winner: AttentiveProbe | None = None
    groups = pieces(len(settings), max(1, GROUP // first.num_parameters()))
    for number, group in enumerate(groups):
        told = _told(progress, number, len(groups), steps)
        probes = train_together(first, schedules[group], [decay for _, decay in settings[group]], some, told)
        for probe, logits, (rate, decay) in zip(probes, _logits(probes, tokens, held), settings[group], strict=True):
            tried.append(score({"rate": rate, "decay": decay}, logits, own[held]))
            if winner is None or best(tried) == len(tried) - 1:
                winner = probe
    assert winner is not None
    return AttentiveFit(classes, winner, tuple(tried), best(tried))


@dataclass(frozen=True)
class Examples:
    """The pictures that probes are trained on, in batches, and these in parts that fit into memory.

    Attributes:
        tokens, own: of all pictures, their tokens and the numbers of their classes.
        rows: those that are trained on.
        batch_size, seed: how many in a step, and in which order.
    """

    tokens: Any
    own: NDArray[np.intp]
    rows: NDArray[np.intp]
    batch_size: int
    seed: int

    def parts(self, step: int) -> list[NDArray[np.intp]]:
        """The rows of the batch of a step: of one that is large in an even number of parts."""
        chosen = self.rows[numbers(self.seed, len(self.rows), step * self.batch_size, self.batch_size)]
        count = -(-len(chosen) // room(self.tokens))
        return [chosen[some] for some in parts(len(chosen), count + (count > 1 and count % 2))]

    def part(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, NDArray[np.intp]]:
        """Tokens, normalised by their own mean and variance, where they are, and classes."""
        x, keys = padded([np.asarray(self.tokens[int(row)], np.float32) for row in rows])
        flat = x[keys] if keys is not None else x.reshape(-1, x.shape[-1])
        mean = flat.mean(axis=0)
        return batch_norm(x, mean, np.square(flat - mean).mean(axis=0), EPS), keys, self.own[rows]


def train_together(
    first: AttentiveProbe,
    schedules: Sequence[Schedule],
    decays: Sequence[float],
    examples: Examples,
    progress: Callable[[int], None] = lambda step: None,
) -> list[AttentiveProbe]:
    """Probes that begin as `first`, each trained with its own schedule and decay on the same batches."""
    network = Probes([first] * len(schedules)).map(lambda path, array: np.array(array))
    weights = [{path: array for path, array in probe.state_dict().items() if trained(path)} for probe in network.probes]
    first_means, second_means = ([_zeros(own) for own in weights] for _ in range(2))
    for step in range(schedules[0].steps):
        gradients = _gradients(network, examples, step)

        def move(i: int, step: int = step, gradients: Arrays = gradients) -> None:
            found = {path: gradients[f"probes.{i}.{path}"] for path in weights[i]}
            found = clip(found, gradient_norm(found.values()), CLIP)
            optimizer = AdamW((0.9, 0.999), weight_decay=decays[i], fully_decoupled=False)
            rate, peak = schedules[i].rate(step), schedules[i].peak
            optimizer.update(weights[i], found, first_means[i], second_means[i], step + 1, rate, peak)

        run([partial(move, i) for i in range(len(weights))], usable_cores())
        progress(step + 1)
    return network.probes


def _zeros(weights: Arrays) -> Arrays:
    return {path: np.zeros_like(array) for path, array in weights.items()}


def trained(path: str) -> bool:
    """All weights but the mean and the variance."""
    return not path.rpartition("bn.")[1]


def _gradients(network: Probes, examples: Examples, step: int) -> Arrays:
    """Of the mean loss of a batch, of each probe by its own weights: of the sum of all by all.

    The parts of the batch are computed beside each other, and summed in their order.
    """
    parts = examples.parts(step)
    found: list[Arrays] = [{}] * len(parts)

    def work(number: int) -> None:
        x, keys, own = examples.part(parts[number])

        def loss(network: Probes) -> Any:
            losses = [cross_entropy(logits, own).sum() for logits in network(x, keys)]
            return sum(losses[1:], losses[0]) / examples.batch_size

        try:
            found[number] = value_and_grad(loss, network, weights=trained)[1]
        except ValueError as error:
            raise DivergedError(f"step {step + 1}: the loss of a probe is NaN or infinite; lower the rates") from error

    run([partial(work, number) for number in range(len(parts))], usable_cores())
    total = found[0]
    for more in found[1:]:
        for path, array in more.items():
            total[path] += array
    return total


def _logits(probes: Sequence[AttentiveProbe], tokens: Any, rows: NDArray[np.intp]) -> list[NDArray[np.float64]]:
    """Of each probe, its logits of some pictures."""
    found = []
    with one_blas_thread():
        for some in pieces(len(rows), room(tokens)):
            x, keys = padded([np.asarray(tokens[int(row)], np.float32) for row in rows[some]])
            found.append(Probes(list(probes))(probes[0].bn(x), keys))
    return [np.concatenate(logits).astype(np.float64) for logits in zip(*found, strict=True)]


def room(tokens: Any) -> int:
    """Of how many pictures tokens are held at a time, as the first one has."""
    return int(max(1, NUMBERS // np.asarray(tokens[0]).size))


def moments(tokens: Any, rows: NDArray[np.intp], size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and variance of each of D numbers over all tokens of some pictures; looks at all, whether they are sound."""
    count, sums, squares = 0, np.zeros(size), np.zeros(size)
    wanted = set(rows.tolist())
    middle = np.asarray(tokens[int(rows[0])], np.float64).mean(axis=0)  # so that squares are not large and equal
    for row in range(len(tokens)):
        x = np.asarray(tokens[row])
        if x.ndim != 2 or not len(x) or x.shape[1] != size:
            raise ValueError(f"tokens of picture {row} are of shape {x.shape}; expected (tokens, {size})")
        if not np.isfinite(x).all():
            raise ValueError(f"tokens of picture {row} hold NaN or infinity; embed the pictures again")
        if row in wanted:
            wide = x - middle
            count, sums, squares = count + len(x), sums + wide.sum(axis=0), squares + (wide * wide).sum(axis=0)
    mean = sums / count
    variance = np.maximum(squares / count - mean * mean, 0)
    return (mean + middle).astype(np.float32), variance.astype(np.float32)


def first_probe(
    size: int, classes: int, heads: int, seed: int, mean: NDArray[np.float32], variance: NDArray[np.float32]
) -> AttentiveProbe:
    """A probe before its first step: matrices uniform to ±1/√D, as PyTorch's are, the query normal with 0.02."""
    rng = np.random.default_rng([seed, 3])
    k, v, linear = (
        Linear(rng.uniform(-(size**-0.5), size**-0.5, (rows, size)).astype(np.float32), None)
        for rows in (size, size, classes)
    )
    query = (0.02 * rng.standard_normal((1, 1, size))).astype(np.float32)
    return AttentiveProbe(BatchNorm(mean, variance, EPS), k, v, query, linear, heads)


def _width(tokens: Any) -> int:
    shape = np.shape(tokens[0])
    if len(shape) != 2 or not all(shape):
        raise ValueError(f"tokens of a picture are of shape {shape}; expected (tokens, D), as embed makes 'tokens'")
    return int(shape[1])


def _batch_size(pictures: int) -> int:
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, pictures // BATCHES))


def _heads(size: int, heads: int | None) -> int:
    if heads is None:
        return next(count for count in range(min(size, max(4, size // HEAD)), 0, -1) if size % count == 0)
    if size % as_count(heads, "heads"):
        raise ValueError(f"heads is {heads}; expected a divisor of {size}, the numbers of a token")
    return heads


def _told(progress: Callable[[int, int], None] | None, number: int, groups: int, steps: int) -> Callable[[int], None]:
    """Called with the steps of one of several groups, tells those of all."""
    return lambda step: progress(number * steps + step, groups * steps) if progress is not None else None
