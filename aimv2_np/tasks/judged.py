"""What a classifier makes of pictures, beside what they are: shared by nearest neighbours and probes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimv2_np.tasks.calibration import Calibration, calibration


@dataclass(frozen=True, eq=False)
class Judged:
    """What is made of M pictures.

    Attributes:
        classes: the C classes of the training pictures, sorted.
        predicted: (M,), the number of a class for each picture.
        shares: (M, C), how much speaks for each class, each row summing to 1: probabilities, or votes of neighbours.
        actual: (M,), the number of the class that each picture is of; None where none were given.
    """

    classes: tuple[str, ...]
    predicted: NDArray[np.intp]
    shares: NDArray[np.float64]
    actual: NDArray[np.intp] | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The class of each picture by name."""
        return tuple(self.classes[i] for i in self.predicted)

    @property
    def confusion(self) -> NDArray[np.intp]:
        """(C, C): how many pictures of the class of a row were taken for the class of a column."""
        actual = self._actual()
        matrix = np.zeros((len(self.classes),) * 2, np.intp)
        np.add.at(matrix, (actual, self.predicted), 1)
        return matrix

    @property
    def accuracy(self) -> float:
        """The share of pictures that were taken for what they are."""
        return float((self._actual() == self.predicted).mean())

    @property
    def calibration(self) -> Calibration:
        """Whether the shares are as high as pictures are often right."""
        return calibration(self.shares, self._actual())

    def _actual(self) -> NDArray[np.intp]:
        if self.actual is None:
            raise ValueError("the pictures' own classes were not given; pass them to compare with")
        return self.actual


def checked_labels(labels: Sequence[str], count: int, name: str) -> Sequence[str]:
    """The labels; ValueError unless they are `count` strings."""
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{name} is {labels!r:.80}; expected a list of strings")
    if len(labels) != count:
        raise ValueError(f"{name} has {len(labels)} classes for {count} pictures; expected one for each")
    return labels


def class_numbers(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.intp]:
    """The number of each label among the classes; ValueError for labels that are not among them."""
    number = {name: i for i, name in enumerate(classes)}
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise ValueError(
            f"train has no picture of {', '.join(map(repr, unknown[:5]))}{' and more' if unknown[5:] else ''}, "
            f"which test has; expected the classes {', '.join(classes)[:200]}"
        )
    return np.array([number[name] for name in labels], np.intp)
