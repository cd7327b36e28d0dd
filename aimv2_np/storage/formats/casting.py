"""Stored numbers to the dtype that is asked for, a bounded piece at a time."""

import math
from collections.abc import Iterator

import numpy as np

from aimv2_np.backends.dtypes import FLOATS, LARGEST, NAMES
from aimv2_np.backends.narrow import round_bits, widen_bits
from aimv2_np.errors import CheckpointError
from aimv2_np.shapes import NDArray

PIECE = 2**16  # elements: a piece and its conversion stay within a core's own cache


def as_dtype(stored: NDArray, code: str, target: str, what: str) -> NDArray:
    """An array of a file as a read-only one of `target`, in C order and aligned: a view of it where it is that already.

    Args:
        stored: the numbers as the file has them, bfloat16 as its bits.
        code: the format's name of their dtype ("BF16", ...).
        target: what NumPy computes in ("float32", "float64", "float16"); ValueError for anything else.
        what: what a CheckpointError about numbers that `target` cannot hold begins with.
    """
    if target == "bfloat16" or target not in FLOATS:
        raise ValueError(f"dtype is {target!r}; expected one of float32, float64, float16")
    if code != FLOATS[target]:
        array = convert_dtype(np.ascontiguousarray(stored).reshape(-1), code, target, what).reshape(stored.shape)
    elif stored.flags.c_contiguous and stored.flags.aligned:
        array = stored[...]
    else:
        array = stored.copy(order="C")
    array.flags.writeable = False
    return array


def recast(stored: NDArray, code: str, target: str, what: str) -> NDArray:
    """Numbers that a file stores as `code` ("BF16", ...) as one would that stores `target`; rounded to nearest.

    The same array where the two are equal. Raises CheckpointError, beginning with `what`, for numbers that are not
    finite or that `target` cannot hold.
    """
    if code == target:
        return stored
    row = np.ascontiguousarray(stored).reshape(-1)
    cast = to_bfloat16(row, code, what) if target == "BF16" else convert_dtype(row, code, NAMES[target], what)
    return cast.reshape(stored.shape)


def bounded_pieces(stored: NDArray, code: str) -> Iterator[tuple[slice, NDArray]]:
    """A flat stored array in bounded pieces, each with its place; bfloat16 as float32, the others as they are."""
    for start in range(0, stored.size, PIECE):
        place = slice(start, min(start + PIECE, stored.size))
        piece = stored[place]
        yield place, widen_bits(piece) if code == "BF16" else piece


def misfit(what: str, largest: float, target: str) -> CheckpointError:
    """What to raise for numbers, of which `largest` is the largest in size, that `target` ("float16") cannot hold."""
    if not math.isfinite(largest):
        return CheckpointError(f"{what} holds numbers that are not finite (inf or NaN); fetch it again")
    wider = "float64" if target in ("float32", "float64") else "float32"
    return CheckpointError(
        f"{what} holds {largest:g}, more than {target} can ({LARGEST[target]:g}); load it as {wider}"
    )


def convert_dtype(stored: NDArray, code: str, target: str, what: str) -> NDArray:
    """A flat array of a file as one of `target` ("float32", ...): exact where it can be, else rounded to nearest.

    Raises CheckpointError, beginning with `what`, for a number that is not finite or that `target` cannot hold.
    """
    result = np.empty(stored.size, np.dtype(target))
    for place, piece in bounded_pieces(stored, code):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # the check below says more than a warning
            result[place] = piece
        if not np.isfinite(result[place]).all():
            raise misfit(what, float(np.abs(piece).max()), target)
    return result


def to_bfloat16(stored: NDArray, code: str, what: str) -> NDArray:
    """A flat array of a file as the bits of bfloat16, rounded to nearest, ties to even.

    float64 is rounded to float32 first, which moves a number that lies within 2^-25 of a tie. Raises CheckpointError,
    beginning with `what`, for a number that is not finite or too large.
    """
    single = convert_dtype(stored, code, "float32", what)
    result = np.empty(single.size, np.uint16)
    for place, piece in bounded_pieces(single, "F32"):
        result[place] = round_bits(piece)
        if ((result[place] & 0x7FFF) >= 0x7F80).any():  # rounded up to infinity
            raise misfit(what, float(np.abs(piece).max()), "bfloat16")
    return result
