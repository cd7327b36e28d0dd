"""Numbers beyond 65504, which float16 does not have: they become infinite, or a norm of them zero."""

from typing import Any

import numpy as np

from aimv2_np.backends.arrays import widen
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Fault, Variants, with_forward
from aimv2_np.network.attention import Attention, merge_heads, softmax, split_heads
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU, gated
from aimv2_np.shapes import Array
from aimv2_np.tree.tracing import record

LARGEST = 65504.0
# Numbers from half a unit beyond the largest on are rounded to infinity.
OVERFLOWS = 65520.0
ADVICE = f"float16 ends at {LARGEST:g}; compute this in float32"


def overflowed(x: Array) -> Array:
    """`x` with infinities where float16 has no numbers."""
    return np.where(np.abs(widen(x)) < OVERFLOWS, x, np.copysign(np.inf, x))


def norm_overflow(norm: Any, path: str, _: Context) -> Variants:
    """Squares, or their sum, become infinite, and the token zero."""
    sentence = f"the squares in {path} overflow: {ADVICE}"
    plain = type(norm).forward
    for large in (lambda x: (x * x).max(axis=-1, keepdims=True), lambda x: (x * x).sum(axis=-1, keepdims=True)):
        yield (
            sentence,
            with_forward(norm, lambda m, x, large=large: np.where(large(x) < OVERFLOWS, plain(m, x), 0 * x)),
        )


def output_overflow(module: Any, path: str, _: Context) -> Variants:
    """The output itself is too large."""
    sentence = f"the output of {path} overflows: {ADVICE}"
    plain = type(module).forward
    yield sentence, with_forward(module, lambda m, *args: overflowed(plain(m, *args)))
    yield sentence, with_forward(module, lambda m, *args: np.clip(plain(m, *args), -LARGEST, LARGEST))


def product_overflow(ffn: Any, path: str, _: Context) -> Variants:
    """act(gate) · up is too large."""

    def hidden(m: Any, x: Array) -> Array:
        return gated(m.gate_proj(x), m.up_proj(x), m.hidden_act)

    sentence = f"act(gate) · up in {path} overflows: {ADVICE}"
    yield sentence, with_forward(ffn, lambda m, x: m.down_proj(overflowed(hidden(m, x))))
    yield sentence, with_forward(ffn, lambda m, x: m.down_proj(np.clip(hidden(m, x), -LARGEST, LARGEST)))


def score_overflow(attention: Any, path: str, _: Context) -> Variants:
    """q kᵀ is too large before it is scaled."""

    def forward(m: Any, x: Array, mask: Array | None = None, *_: Any) -> Array:
        q, k, v = (split_heads(project(x), m.heads) for project in (m.q_proj, m.k_proj, m.v_proj))
        for name, value in (("q", q), ("k", k), ("v", v)):
            record(name, value)
        scores = overflowed(q @ k.swapaxes(-1, -2)) * q.shape[-1] ** -0.5
        record("scores", scores)
        probs = softmax(scores if mask is None else np.where(mask, scores, np.finfo(scores.dtype).min))
        record("probs", probs)
        return m.out_proj(merge_heads(probs @ v))

    yield f"q kᵀ in {path} overflows before it is scaled: {ADVICE}", with_forward(attention, forward)


FAULTS = tuple(
    Fault("float16_overflow", kind, plant)
    for kind, plant in (
        (RMSNorm, norm_overflow),
        (Linear, output_overflow),
        (EncoderLayer, output_overflow),
        (SwiGLU, product_overflow),
        (Attention, score_overflow),
    )
)
