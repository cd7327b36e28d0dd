"""Outputs that were rounded to half precision where the reference's were not."""

import numpy as np

from aimv2_np.comparison.comparison import Diagnosis
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.measure import measure
from aimv2_np.comparison.tolerances import Tolerances
from aimv2_np.shapes import NDArray

ENOUGH = 16  # so many different numbers are not representable in half precision by chance


def coarser(context: Context) -> Diagnosis | None:
    """Half precision as the cause, when all of the other side's numbers at the first divergence are half precision's.

    None unless the reference's are not, and the difference is no more than that rounding makes.
    """
    first = context.result.first
    if first is None:
        return None
    ours, theirs = context.ours(first.path), context.theirs(first.path)
    if ours is None or theirs is None or theirs.shape != ours.shape:
        return None
    if len(np.unique(theirs)) < ENOUGH or not np.isfinite(theirs).all():
        return None
    for dtype in ("bfloat16", "float16"):
        relative = measure(ours, theirs, dtype).relative
        fits = relative <= Tolerances()(first.path, dtype, first.depth)
        if fits and _is_rounded(theirs, dtype) and not _is_rounded(ours, dtype):
            sentence = (
                f"the other side computes {first.path} in {dtype}: all its numbers there are {dtype}'s, and the "
                f"difference is no more than its rounding; compare with the dtype {dtype} if that is meant"
            )
            return Diagnosis("reduced_precision", sentence, relative)
    return None


def _is_rounded(array: NDArray, dtype: str) -> bool:
    single = array.astype(np.float32)
    if not np.array_equal(single, array):
        return False
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return bool(np.array_equal(single.astype(np.float16).astype(np.float32), single))
    return not (np.ascontiguousarray(single).view(np.uint32) & np.uint32(0xFFFF)).any()
