"""Half precision: numbers beyond 65504, which float16 does not have, and numbers that were rounded to it.

What is too large becomes infinite, or the largest number there is, or a norm of it zero.
"""

from collections.abc import Callable

import numpy as np

from aimv2_np.backends.arrays import widen
from aimv2_np.comparison.comparison import Diagnosis
from aimv2_np.comparison.diagnosis.advice import change
from aimv2_np.comparison.diagnosis.attentions import attend
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, varying
from aimv2_np.comparison.measure import measure_arrays
from aimv2_np.comparison.tolerances import Tolerances
from aimv2_np.network.attention import Attention
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU, gated
from aimv2_np.shapes import Array, NDArray

LARGEST = 65504.0
# Numbers from half a unit beyond the largest on are rounded to infinity.
OVERFLOWS = 65520.0
ENOUGH = 16  # so many different numbers are not representable in half precision by chance
ADVICE = f"float16 ends at {LARGEST:g}; compute this in float32"


def overflowed(x: Array) -> Array:
    """`x` with infinities where float16 has no numbers."""
    return np.where(np.abs(widen(x)) < OVERFLOWS, x, np.copysign(np.inf, x))


def cut_off(x: Array) -> Array:
    """`x` with the largest number of float16 where it has none as large."""
    return np.clip(x, -LARGEST, LARGEST)


def _zero_where(large: Callable[[Array], Array]) -> Plant:
    """A norm that makes those tokens x (…, D) zero of which `large(x)` (…, 1) is infinite in float16."""
    return computing(lambda m, x: np.where(large(x) < OVERFLOWS, type(m).forward(m, x), 0 * x))


def _output(limited: Callable[[Array], Array]) -> Plant:
    return computing(lambda m, *args: limited(type(m).forward(m, *args)))


def _product(limited: Callable[[Array], Array]) -> Plant:
    return computing(lambda m, x: m.down_proj(limited(gated(m.gate_proj(x), m.up_proj(x), m.hidden_act))))


LIMITS = {f"overflows: {ADVICE}": overflowed, f"is cut off: {ADVICE}": cut_off}
OUTPUTS = {f"the output of {{path}} {what}": _output(limited) for what, limited in LIMITS.items()}
FAULTS: Table = {
    ("float16_overflow", RMSNorm): {
        f"a square in {{path}} overflows: {ADVICE}": _zero_where(lambda x: (x * x).max(axis=-1, keepdims=True)),
        f"the sum of squares in {{path}} overflows: {ADVICE}": _zero_where(
            lambda x: (x * x).sum(axis=-1, keepdims=True)
        ),
    },
    ("float16_overflow", Linear): OUTPUTS,
    ("float16_overflow", EncoderLayer): OUTPUTS,
    ("float16_overflow", SwiGLU): {
        f"act(gate) · up in {{path}} {what}": _product(limited) for what, limited in LIMITS.items()
    },
    ("float16_overflow", Attention): {
        f"q kᵀ in {{path}} overflows before it is scaled: {ADVICE}": varying(attend, products=overflowed),
    },
}


def coarser(context: Context) -> Diagnosis | None:
    """Half precision as the cause, when all of the other side's numbers at the first divergence are half precision's.

    None unless the reference's are not, and the difference is no more than that rounding makes.
    """
    first, found = context.result.first, half_of(context)
    if first is None or found is None:
        return None
    dtype, relative = found
    if relative > Tolerances()(first.path, dtype, first.depth):
        return None
    sentence = (
        f"the other side computes {first.path} in {dtype}: all its numbers there are {dtype}'s, and the "
        f"difference is no more than its rounding; compare with the dtype {dtype} if that is meant"
    )
    return Diagnosis("reduced_precision", sentence, relative, 1.0, change("reduced_precision"))


def half_of(context: Context) -> tuple[str, float] | None:
    """The half precision that the other side's numbers at the first divergence are of while ours are not; the error."""
    path = "" if context.result.first is None else context.result.first.path
    ours, theirs = context.reference.array(path), context.theirs(path)
    if ours is None or theirs is None or theirs.shape != ours.shape:
        return None
    if len(np.unique(theirs)) < ENOUGH or not np.isfinite(theirs).all():
        return None
    for dtype in ("bfloat16", "float16"):
        if _is_rounded(theirs, dtype) and not _is_rounded(ours, dtype):
            return dtype, measure_arrays(ours, theirs, dtype).relative
    return None


def _is_rounded(array: NDArray, dtype: str) -> bool:
    single = array.astype(np.float32)
    if not np.array_equal(single, array):
        return False
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return bool(np.array_equal(single.astype(np.float16).astype(np.float32), single))
    return not (np.ascontiguousarray(single).view(np.uint32) & np.uint32(0xFFFF)).any()
