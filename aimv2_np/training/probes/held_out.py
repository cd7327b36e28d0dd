"""Choosing settings by pictures that were held out of the training; those of TEST take no part in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from aimv2_np.tasks.judged import checked_labels

PART = 5  # of each class every fifth picture is held out


@dataclass(frozen=True)
class Tried:
    """Settings that were tried, and how well they did on the pictures that were held out.

    Attributes:
        settings: by name.
        accuracy: the share of these pictures that was right.
        loss: the mean cross-entropy.
    """

    settings: Mapping[str, float]
    accuracy: float
    loss: float


def best(tried: Sequence[Tried]) -> int:
    """The number of the settings of the lowest loss; among equals the first.

    The loss and not the accuracy: it tells settings apart by few pictures too, and a probe that is sure of what is
    wrong from one that is in doubt.
    """
    return min(range(len(tried)), key=lambda i: tried[i].loss)


def hold_out(own: NDArray[np.intp], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows to train on, and those that are held out: a fifth of each class, at least one where there are two.

    Args:
        own: (N,), the number of each picture's class.
        seed: which ones are drawn.

    Raises ValueError where every class has one picture only.
    """
    held = np.zeros(len(own), bool)
    for number in range(int(own.max()) + 1):
        rows = np.flatnonzero(own == number)
        count = max(1, round(len(rows) / PART)) if len(rows) > 1 else 0
        held[np.random.default_rng([seed, number]).permutation(rows)[:count]] = True
    if not held.any():
        raise ValueError(
            "train has one picture of each class; expected two of some class at least, of which one is held out to "
            "choose settings by"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def score(settings: Mapping[str, float], logits: NDArray[np.float64], own: NDArray[np.intp]) -> Tried:
    """How well logits (M, C) fit the classes (M,)."""
    top = logits.max(axis=1, keepdims=True)
    surprise = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0] - logits[np.arange(len(own)), own]
    loss = float(surprise.mean())
    right = float((logits.argmax(axis=1) == own).mean())
    return Tried(settings, right if isfinite(loss) else 0.0, loss if isfinite(loss) else float("inf"))


def checked_classes(labels: Sequence[str], count: int) -> tuple[str, ...]:
    """The classes of `count` training pictures, sorted; ValueError for fewer than two."""
    classes = tuple(sorted(set(checked_labels(labels, count, "labels"))))
    if len(classes) < 2:
        raise ValueError(
            f"train has pictures of {len(classes)} class{'' if classes else 'es'} "
            f"({', '.join(classes)[:200]}); expected at least two, to tell them apart"
        )
    if "" in classes:
        raise ValueError("labels has an empty name; expected the name of a class for each picture")
    return classes
