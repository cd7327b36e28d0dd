"""Which pictures a step sees, and getting them ready while the step before is computed.

Everything here is a function of the seed and of a number: the k-th picture that a training sees is the same whenever it
is asked for, so that a training that was killed goes on as if it had not been.
"""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from aimv2_np.shapes import NDArray

T = TypeVar("T")


class Captioned(Protocol):
    """Pictures with captions, by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> tuple[Image.Image, str]: ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """JSON that tells these pictures from others: a training goes on only where they are the same."""

    def name(self, number: int) -> str:
        """What a picture is called in messages."""


def numbers(seed: int, length: int, first: int, count: int) -> list[int]:
    """The numbers of the `first`-th picture that is seen, and of the `count` - 1 after it.

    All `length` are seen once, in an order drawn at random, before any is seen again, in another order.
    """
    if length < 1:
        raise ValueError("there are no pictures; expected at least one with its caption")
    places = range(first, first + count)
    return [int(_order(seed, length, place // length)[place % length]) for place in places]


@lru_cache(maxsize=2)
def _order(seed: int, length: int, epoch: int) -> NDArray:
    return np.random.default_rng([seed, 0, epoch]).permutation(length)


def random_of(seed: int, place: int) -> np.random.Generator:
    """What is drawn at random for the `place`-th picture that is seen."""
    return np.random.default_rng([seed, 1, place])


def ahead(make: Callable[[int], T], first: int, stop: int) -> Generator[T]:
    """`make(first)`, … `make(stop - 1)`, each made in another thread while the one before is used."""
    with ThreadPoolExecutor(1, "batches") as pool:
        coming = pool.submit(make, first) if first < stop else None
        for number in range(first, stop):
            assert coming is not None
            ready = coming.result()
            coming = pool.submit(make, number + 1) if number + 1 < stop else None
            yield ready
