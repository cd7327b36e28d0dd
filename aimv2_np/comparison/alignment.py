"""The same numbers in another layout: an array whose axes are in another order, merged or split.

A layout is found, never assumed: of the ways in which an array of another shape can be read, the one that is nearest to
the reference counts, or the simplest where none is near. An array of the same shape is read as it is; that two axes of
one length are exchanged in it is for the caller to try, and to accept only if everything agrees then.
"""

from collections.abc import Iterator
from itertools import accumulate, permutations
from math import prod
from operator import mul

import numpy as np

from aimv2_np.comparison.measure import measure_arrays
from aimv2_np.shapes import NDArray

Shape = tuple[int, ...]

# What the axes of ours are called in remarks, by their number, and where the channels are split into heads.
AXES = {
    2: ("rows", "channels"),
    3: ("batch", "tokens", "channels"),
    4: ("batch", "heads", "tokens", "channels"),
}
SPLIT = ("batch", "tokens", "heads", "channels")
PICTURES = ("pictures", "channels", "rows", "columns")
MOST_AXES = 4
CLEARLY = 0.5  # of several ways the first counts, which moves least, unless another leaves at most half of its error


class UnlikeError(ValueError):
    """Why two arrays cannot be brought to one shape, in words for a note."""


def in_shape(
    array: NDArray, like: NDArray, *, exchanged: bool = False, axes: tuple[str, ...] = ()
) -> tuple[NDArray, str]:
    """The other side's array in the shape of the reference's, `like`, and a remark if it had another layout.

    Remarks call the axes of `like` by the names `axes`, where they are no tokens of channels.
    With `exchanged`, an array of the same shape is also tried with axes of one length exchanged. UnlikeError when it
    cannot be read as an array of that shape.
    """
    if array.shape == like.shape and not exchanged:
        return array, ""
    ways = list(_ways(array, like.shape, axes))
    if not ways:
        raise UnlikeError(f"theirs has the shape {array.shape}")
    if len(ways) == 1:
        return ways[0]
    errors = [measure_arrays(like, way, "float32").relative for way, _ in ways]
    best = int(np.argmin(errors))
    return ways[best if errors[best] < CLEARLY * errors[0] else 0]


def _ways(array: NDArray, shape: Shape, axes: tuple[str, ...]) -> Iterator[tuple[NDArray, str]]:
    """The ways in which an array can be read as one of `shape`, those that move the least first; with a remark each."""
    theirs = array.shape
    if prod(theirs) != prod(shape):
        return
    said = "" if theirs == shape else f"theirs is {theirs}"
    for target, names in _targets(theirs, shape, axes):
        long = [axis for axis, size in enumerate(target) if size != 1]
        for order in permutations(long) if len(long) <= MOST_AXES else [tuple(long)]:
            stored = tuple(target[axis] for axis in order)
            if not _merges(theirs, stored):
                continue
            if list(order) == long:
                yield array.reshape(shape), said
            else:
                # (stored axes) → the target's, of which those of length one are added by the last reshape
                read = array.reshape(stored).transpose(np.argsort(order)).reshape(shape)
                yield read, f"theirs is {theirs}, axes in the order {', '.join(names[axis] for axis in order)}"


def _targets(theirs: Shape, shape: Shape, axes: tuple[str, ...]) -> Iterator[tuple[Shape, tuple[str, ...]]]:
    """The shape, and that with its channels split into heads of as many as their last axis has; names of the axes."""
    yield shape, axes or AXES.get(len(shape), tuple(f"axis {axis}" for axis in range(len(shape))))
    if len(shape) == 3 and len(theirs) > 2 and 1 < theirs[-1] < shape[2] and shape[2] % theirs[-1] == 0:
        yield (*shape[:2], shape[2] // theirs[-1], theirs[-1]), SPLIT


def _merges(one: Shape, other: Shape) -> bool:
    """Whether one shape is the other with neighbouring axes merged, apart from axes of length one."""
    ends = [set(accumulate((size for size in shape if size != 1), mul)) for shape in (one, other)]
    return ends[0] <= ends[1] or ends[1] <= ends[0]
