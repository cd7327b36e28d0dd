"""Derivatives of some sequences of the batch at a time, on all cores: what is computed between stays in the cache.

Which sequences go together does not depend on the number of cores, so neither do the bits.
"""

from collections.abc import Callable
from typing import TypeVar

from aimv2_np.backends.arrays import backend_of
from aimv2_np.backends.parallel import cores, pieces, run
from aimv2_np.shapes import Array

T = TypeVar("T")
NUMBERS = 1 << 16  # of an array that go together


def in_slices(like: Array, function: Callable[[slice], T]) -> list[T]:
    """`function(slice)` of slices of the first axis of `like`, in order; on a GPU of all of it at once."""
    if backend_of(like) != "numpy" or like.ndim < 2:
        return [function(slice(None))]
    slices = pieces(len(like), max(1, NUMBERS * len(like) // max(1, like.size)))
    found: dict[int, T] = {}

    def job(number: int) -> Callable[[], None]:
        return lambda: found.__setitem__(number, function(slices[number]))

    run([job(number) for number in range(len(slices))], cores())
    return [found[number] for number in range(len(slices))]
