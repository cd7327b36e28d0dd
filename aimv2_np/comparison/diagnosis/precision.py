"""Outputs that were rounded to half precision where the reference's were not."""

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context, NDArray
from aimv2_np.comparison.measure import measure
from aimv2_np.comparison.tolerances import Tolerances

ENOUGH = 16  # so many different numbers are not representable in half precision by chance


def coarser(context: Context) -> tuple[str, float] | None:
    """(sentence, relative error) when all of the other side's numbers at the first divergence are half precision's.

    None unless the reference's are not, and the difference is no more than that rounding makes.
    """
    first = context.first
    ours = None if first is None else context.ours(first.path)
    if first is None or ours is None or first.theirs not in context.other.activations:
        return None
    theirs = context.other.activations[first.theirs]
    if theirs.shape != ours.shape or len(np.unique(theirs)) < ENOUGH or not np.isfinite(theirs).all():
        return None
    for dtype in ("bfloat16", "float16"):
        measures = measure(ours, theirs, dtype)
        fits = measures.relative <= Tolerances()(first.path, dtype, first.depth)
        if fits and _is_rounded(theirs, dtype) and not _is_rounded(ours, dtype):
            sentence = (
                f"the other side computes {first.path} in {dtype}: all its numbers there are {dtype}'s, and the "
                f"difference is no more than its rounding; compare with the dtype {dtype} if that is meant"
            )
            return sentence, measures.relative
    return None


def _is_rounded(array: NDArray, dtype: str) -> bool:
    single = array.astype(np.float32)
    if not np.array_equal(single, array):
        return False
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return bool(np.array_equal(single.astype(np.float16).astype(np.float32), single))
    return not (np.ascontiguousarray(single).view(np.uint32) & np.uint32(0xFFFF)).any()
