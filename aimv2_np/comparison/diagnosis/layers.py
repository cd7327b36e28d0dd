"""Mistakes in a layer: its residual connections, its norms, and what takes what."""

from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, copied, exchanging, holding, with_fields
from aimv2_np.comparison.diagnosis.scaled import factor_of, ratio_of
from aimv2_np.network.attention import Attention
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module


def _post_norm(m: Any, x: Array, view: View = EVERYONE) -> Array:
    x = m.rms_norm1(x + m.attention(x, view))
    result: Array = m.rms_norm2(x + m.ffn(x))
    return result


def _normed_outputs(m: Any, x: Array, view: View = EVERYONE) -> Array:
    x = x + m.rms_norm1(m.attention(x, view))
    result: Array = x + m.rms_norm2(m.ffn(x))
    return result


def _sandwich(m: Any, x: Array, view: View = EVERYONE) -> Array:
    x = x + m.rms_norm1(m.attention(m.rms_norm1(x), view))
    result: Array = x + m.rms_norm2(m.ffn(m.rms_norm2(x)))
    return result


def _sandwich_without_gain(m: Any, x: Array, view: View = EVERYONE) -> Array:
    x = x + rms_norm(m.attention(m.rms_norm1(x), view), np.ones_like(m.rms_norm1.weight), m.rms_norm1.eps)
    result: Array = x + rms_norm(m.ffn(m.rms_norm2(x)), np.ones_like(m.rms_norm2.weight), m.rms_norm2.eps)
    return result


def _parallel(m: Any, x: Array, view: View = EVERYONE) -> Array:
    result: Array = x + m.attention(m.rms_norm1(x), view) + m.ffn(m.rms_norm2(x))
    return result


def _parallel_of_one_norm(m: Any, x: Array, view: View = EVERYONE) -> Array:
    y = m.rms_norm1(x)
    result: Array = x + m.attention(y, view) + m.ffn(y)
    return result


def _parallel_of_no_norm(m: Any, x: Array, view: View = EVERYONE) -> Array:
    result: Array = x + m.attention(m.rms_norm1(x), view) + m.ffn(x)
    return result


def _mlp_of_attention(m: Any, x: Array, view: View = EVERYONE) -> Array:
    y = m.attention(m.rms_norm1(x), view)
    result: Array = x + y + m.ffn(m.rms_norm2(y))
    return result


def _mlp_added_to_input(m: Any, x: Array, view: View = EVERYONE) -> Array:
    result: Array = x + m.ffn(m.rms_norm2(x + m.attention(m.rms_norm1(x), view)))
    return result


def _mlp_first(m: Any, x: Array, view: View = EVERYONE) -> Array:
    x = x + m.ffn(m.rms_norm2(x))
    result: Array = x + m.attention(m.rms_norm1(x), view)
    return result


def _residual(first: float = 1, second: float = 1, *, normed: tuple[bool, bool] = (False, False)) -> Plant:
    """A layer whose residual connections are taken so many times, of the layer's stream or of what its norm gives."""

    def forward(m: Any, x: Array, view: View = EVERYONE) -> Array:
        y = m.rms_norm1(x)
        x = x.dtype.type(first) * (y if normed[0] else x) + m.attention(y, view)
        y = m.rms_norm2(x)
        result: Array = x.dtype.type(second) * (y if normed[1] else x) + m.ffn(y)
        return result

    return computing(forward)


def _without(attention: float = 1, ffn: float = 1) -> Plant:
    """A layer whose attention or MLP adds nothing, or other multiples of what it computes."""

    def forward(m: Any, x: Array, view: View = EVERYONE) -> Array:
        if attention:
            x = x + x.dtype.type(attention) * m.attention(m.rms_norm1(x), view)
        return x + x.dtype.type(ffn) * m.ffn(m.rms_norm2(x)) if ffn else x

    return computing(forward)


def _scaled(halves: tuple[str, ...]) -> Plant:
    """A layer that adds another multiple of what its halves give: the one that the first divergence shows."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        factor = factor_of(context, halves)
        if factor is None:
            return None
        planted = _without(**dict.fromkeys(halves, factor))(m, path, context)
        return None if planted is None else with_fields(planted, factor=factor)

    return plant


def _output_scaled(m: Any, path: str, context: Context) -> Module | None:
    """A module whose output is another multiple of what it should be: the one that the first divergence shows."""
    factor = ratio_of(context) if path.endswith(OUTPUTS) else None
    if factor is None:
        return None
    planted = computing(lambda m, *args: m.factor * type(m).forward(m, *args))(m, path, context)
    return None if planted is None else with_fields(planted, factor=np.float32(factor))


OUTPUTS = ("attention", "ffn", "out_proj", "down_proj")
HALVES = {"attention gives": ["attention"], "the MLP gives": ["ffn"], "both give": ["attention", "ffn"]}
EXCHANGED = {"rms_norm1": lambda m: m.rms_norm2, "rms_norm2": lambda m: m.rms_norm1}
RIGHT = "x ← x + attention(rms_norm1(x)), then x ← x + ffn(rms_norm2(x))"
FAULTS: Table = {
    ("missing_residual", EncoderLayer): {
        f"{{path}} does not add its input to what attention gives: {RIGHT}": _residual(first=0),
        f"{{path}} does not add its input to what the MLP gives: {RIGHT}": _residual(second=0),
        f"{{path}} has no residual connections: {RIGHT}": _residual(0, 0),
        f"{{path}} adds what the norm gives, and not what it is given, to attention's output: {RIGHT}": _residual(
            normed=(True, False)
        ),
        f"{{path}} adds what the norm gives, and not what it is given, to the MLP's output: {RIGHT}": _residual(
            normed=(False, True)
        ),
        f"{{path}} adds what the norms give, and not what they are given: {RIGHT}": _residual(normed=(True, True)),
        f"{{path}} adds its input, and not the sum after attention, to what the MLP gives: {RIGHT}": computing(
            _mlp_added_to_input
        ),
    },
    ("residual_twice", EncoderLayer): {
        f"{{path}} adds its input twice to what attention gives: {RIGHT}": _residual(first=2),
        f"{{path}} adds its input twice to what the MLP gives: {RIGHT}": _residual(second=2),
        f"{{path}} adds its input twice, in both halves: {RIGHT}": _residual(2, 2),
    },
    ("post_norm", EncoderLayer): {
        f"{{path}} norms the sum after attention and after the MLP (post-norm): {RIGHT}": computing(_post_norm),
        f"{{path}} norms what attention and the MLP give, and not what they are given: {RIGHT}": computing(
            _normed_outputs
        ),
        f"{{path}} norms what attention and the MLP give, too, and not only what they are given: {RIGHT}": computing(
            _sandwich
        ),
        f"{{path}} norms what attention and the MLP give, too, without a gain: {RIGHT}": computing(
            _sandwich_without_gain
        ),
    },
    ("parallel_block", EncoderLayer): {
        f"{{path}} computes attention and the MLP side by side, of the same input: {RIGHT}": computing(_parallel),
        f"{{path}} computes attention and the MLP side by side, of rms_norm1's output: {RIGHT}": computing(
            _parallel_of_one_norm
        ),
        f"{{path}} gives the MLP the layer's input, not normed: {RIGHT}": computing(_parallel_of_no_norm),
        f"{{path}} gives the MLP what attention gives, without the layer's input: {RIGHT}": computing(
            _mlp_of_attention
        ),
    },
    ("block_order", EncoderLayer): {f"{{path}} computes the MLP before attention: {RIGHT}": computing(_mlp_first)},
    ("missing_half", EncoderLayer): {
        f"{{path}} leaves out attention: {RIGHT}": _without(attention=0),
        f"{{path}} leaves out the MLP: {RIGHT}": _without(ffn=0),
    },
    ("half_scaled", EncoderLayer): {
        f"{{path}} adds {words} of what {name}: {RIGHT}": _without(**dict.fromkeys(halves, factor))
        for factor, words in ((-1.0, "the negative"), (0.5, "half"), (2.0, "twice"))
        for name, halves in HALVES.items()
    }
    | {
        f"{{path}} adds {{p.factor:g}} of what {name}: {RIGHT}": _scaled(tuple(halves))
        for name, halves in HALVES.items()
    },
    **{
        ("half_scaled", kind): {f"{{path}}{which} gives {{p.factor:g}} of what it should": _output_scaled}
        for kind, which in ((Attention, ""), (SwiGLU, ""), (Linear, ", the last projection,"))
    },
    ("blocks_skipped", EncoderLayer): {"{path} does nothing: its output is its input": computing(lambda m, x, *_: x)},
    ("norms_exchanged", EncoderLayer): {
        "{path} exchanges rms_norm1 (before attention) and rms_norm2 (before the MLP)": holding(**EXCHANGED),
        "{path} takes rms_norm2 before attention and rms_norm1 before the MLP; it is the other way round": exchanging(
            **EXCHANGED
        ),
        "{path} uses rms_norm1's gain in both norms": holding(rms_norm2=lambda m: copied(m.rms_norm1)),
        "{path} uses rms_norm2's gain in both norms": holding(rms_norm1=lambda m: copied(m.rms_norm2)),
    },
}
