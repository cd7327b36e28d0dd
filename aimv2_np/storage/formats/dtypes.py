"""Stored numbers to the dtype that is asked for, a bounded piece at a time.

bfloat16 is the upper half of a float32: the same sign and exponent, 7 of the 23 bits of the fraction. So shifting its
bits up by 16 gives the float32 of exactly that value, and NumPy needs no bfloat16 of its own.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from aimv2_np.errors import CheckpointError

# How the floats of the format are held by NumPy; bfloat16 as its bits.
STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
TARGETS = {"float64": "F64", "float32": "F32", "float16": "F16"}
PIECE = 2**16  # elements: a piece and its conversion stay within a core's own cache

Floats = np.ndarray[Any, Any]


def pieces(stored: Floats, dtype: str) -> Iterator[tuple[slice, Floats]]:
    """A flat stored array in bounded pieces, each with its place; bfloat16 as float32, the others as they are."""
    for start in range(0, stored.size, PIECE):
        place = slice(start, min(start + PIECE, stored.size))
        piece = stored[place]
        yield place, (piece.astype(np.uint32) << np.uint32(16)).view(np.float32) if dtype == "BF16" else piece


def convert(stored: Floats, dtype: str, target: str, what: str) -> Floats:
    """A flat array of `dtype` as one of `target` ("float32", ...): exact where it can be, else rounded to nearest.

    Raises CheckpointError, beginning with `what`, for a number that is not finite or that `target` cannot hold.
    """
    result = np.empty(stored.size, np.dtype(target))
    for place, piece in pieces(stored, dtype):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # the check below says more than a warning
            result[place] = piece
        if not np.isfinite(result[place]).all():
            if not np.isfinite(piece).all():
                raise CheckpointError(f"{what} holds numbers that are not finite (inf or NaN); fetch it again")
            largest = float(np.abs(piece).max())
            raise CheckpointError(
                f"{what} holds {largest:g}, more than {target} can ({float(np.finfo(target).max):g}); load it as "
                f"{'float32' if target == 'float16' else 'float64'}"
            )
    return result


def to_bfloat16(stored: Floats, dtype: str, what: str) -> Floats:
    """A flat array of `dtype` as the bits of bfloat16, rounded to nearest, ties to even.

    float64 is rounded to float32 first, which moves a number that lies within 2^-25 of a tie. Raises CheckpointError,
    beginning with `what`, for a number that is not finite or too large.
    """
    single = convert(stored, dtype, "float32", what)
    result = np.empty(single.size, np.uint16)
    for place, piece in pieces(single, "F32"):
        bits = piece.view(np.uint32)
        # Half of what is cut off, less one where the last bit that stays is even: then a tie is not carried over.
        result[place] = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
        if ((result[place] & 0x7FFF) >= 0x7F80).any():  # rounded up to infinity
            raise CheckpointError(f"{what} holds {np.abs(piece).max():g}, more than bfloat16 can; choose float32")
    return result


def is_finite(stored: Floats, dtype: str) -> bool:
    """Whether no number of a flat stored array is inf or NaN."""
    return all(bool(np.isfinite(piece).all()) for _, piece in pieces(stored, dtype))
