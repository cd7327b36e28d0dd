"""Weights that were rounded: half precision, whole numbers of 8 or 4 bits; and what is multiplied with them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.backends.narrow import round_bits, widen_bits
from aimv2_np.comparison.diagnosis.attentions import attend, softmax
from aimv2_np.comparison.diagnosis.damages import DAMAGED
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, varying, with_fields
from aimv2_np.network.attention import Attention
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module


def bfloat16(array: Array) -> Array:
    """The nearest numbers of bfloat16."""
    return widen_bits(round_bits(np.ascontiguousarray(array, np.float32))).astype(array.dtype)


def bfloat16_cut(array: Array) -> Array:
    """The numbers of bfloat16 next to zero: what cutting off half of the bits gives."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(array.dtype)


def tf32(add: int, even: int = 0) -> Callable[[Array], Array]:
    """Numbers of ten bits behind the first, as TF32's; `add` to the bits cut off, `even` more to odd numbers."""

    def rounded(array: Array) -> Array:
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        bits = bits + np.uint32(add) + np.uint32(even) * ((bits >> np.uint32(13)) & np.uint32(1))
        return (bits & np.uint32(0xFFFFE000)).view(np.float32).astype(array.dtype)

    return rounded


def float8(mantissa: int, least: int, largest: float, *, rows: bool) -> Callable[[Array], Array]:
    """The nearest numbers of eight bits with so many behind the first, the exponent not below `least`.

    With `rows` each row is scaled so that its largest number in size is the largest there is.
    """

    def rounded(array: Array) -> Array:
        flat = array.reshape(len(array), -1)
        scale = np.maximum(np.abs(flat).max(1, keepdims=True), 1e-30) / largest if rows else 1.0
        number = np.clip(flat / scale, -largest, largest)
        exponent = np.maximum(np.frexp(number)[1] - 1, least)
        step = np.exp2(exponent - mantissa)
        return (np.rint(number / step) * step * scale).reshape(array.shape).astype(array.dtype)

    return rounded


def float16(array: Array) -> Array:
    """The nearest numbers of float16."""
    return array.astype(np.float16).astype(array.dtype)


def whole_numbers(
    bits: int, *, group: int | None = None, rows: bool = True, below: float = 0, offset: bool = False
) -> Callable[[Array], Array]:
    """A matrix (O, …) rounded to whole numbers of so many bits times a factor.

    Args:
        group: so many inputs have a factor of their own.
        rows: whether each output has.
        below: by how much the largest number in size lies above 2^(bits-1) - 1.
        offset: whether the smallest and the largest number are the ends of all 2^bits.
    """

    def rounded(weight: Array) -> Array:
        flat = weight.reshape(len(weight), -1) if rows else weight.reshape(1, -1)
        if group and flat.shape[1] % group == 0:
            flat = flat.reshape(-1, group)
        if offset:
            low, high = np.minimum(flat.min(1, keepdims=True), 0), np.maximum(flat.max(1, keepdims=True), 0)
            step = np.where(high > low, high - low, 1) / (2**bits - 1)
            zero = np.rint(-low / step)
            result = (np.clip(np.rint(flat / step) + zero, 0, 2**bits - 1) - zero) * step
        else:
            most = 2 ** (bits - 1) - 1
            step = np.abs(flat).max(1, keepdims=True)
            step = np.where(step > 0, step, 1) / (most + below)
            result = np.clip(np.rint(flat / step), -most - 1, most) * step
        return result.reshape(weight.shape).astype(weight.dtype)

    return rounded


def _rounding(rounded: Callable[[Array], Array], *, bias: bool = False) -> Plant:
    """A module whose weight is rounded, and its bias, too, if it has one."""

    def plant(m: Any, *_: Any) -> Module | None:
        weight = np.asarray(m.weight)
        fields = {"weight": rounded(weight)}
        if bias:
            if getattr(m, "bias", None) is None:
                return None
            fields["bias"] = rounded(np.asarray(m.bias))
        return None if np.array_equal(fields["weight"], weight) else with_fields(m, **fields)

    return plant


def _said(name: str, how: str, *, bias: bool = False) -> str:
    return f"the weights of {{path}}{' and its bias' if bias else ''} are rounded to {name}{how}"


def _ways(name: str, ways: dict[str, Callable[[Array], Array]], *, bias: bool) -> dict[str, Plant]:
    return {
        _said(name, how, bias=with_bias): _rounding(rounded, bias=with_bias)
        for how, rounded in ways.items()
        for with_bias in ((False, True) if bias else (False,))
    }


def _query(rounded: Callable[[Array], Array]) -> Plant:
    """A pooling head whose query is rounded."""
    return lambda m, *_: with_fields(m, cls_token=rounded(np.asarray(m.cls_token)))


def _integers(bits: int) -> dict[str, Callable[[Array], Array]]:
    return {
        ", a factor for each row": whole_numbers(bits),
        ", one factor for all": whole_numbers(bits, rows=False),
        f", a factor for each row, the largest number 2^{bits - 1}": whole_numbers(bits, below=1),
        f", one factor for all, the largest number 2^{bits - 1}": whole_numbers(bits, rows=False, below=1),
        f", a factor for each row, the largest number {2 ** (bits - 1) - 0.5}": whole_numbers(bits, below=0.5),
        f", one factor for all, the largest number {2 ** (bits - 1) - 0.5}": whole_numbers(bits, rows=False, below=0.5),
        ", a factor and a zero point for each row": whole_numbers(bits, offset=True),
        ", one factor and one zero point for all": whole_numbers(bits, rows=False, offset=True),
        **{f", a factor for each {group} inputs": whole_numbers(bits, group=group) for group in (16, 32, 64, 128)},
    }


def _multiplying(matrix: Callable[[Array], Array], activation: Callable[[Array], Array]) -> Plant:
    """A product of a rounded matrix with rounded activations (…, D)."""

    def forward(m: Any, x: Array) -> Array:
        rows = activation(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        return type(m).forward(with_fields(m, weight=matrix(np.asarray(m.weight))), rows)

    return computing(forward)


ACTIVATIONS = {
    "a factor and a zero point for all": whole_numbers(8, rows=False, offset=True),
    "a factor and a zero point for all, seven bits of eight": whole_numbers(7, rows=False, offset=True),
    "a factor for all": whole_numbers(8, rows=False),
    "a factor for each token": whole_numbers(8),
}
MATRICES = {"as they are": lambda weight: weight, **{f"int8{how}": way for how, way in _integers(8).items()}}
OF_ROUNDING = (
    "bfloat16_weights",
    "float16_weights",
    "float8_weights",
    "int8_weights",
    "int4_weights",
    "int8_activations",
    "tf32_products",
)
TF32 = {"the nearest": tf32(0xFFF, 1), "the nearest, halves up": tf32(0x1000), "those next to zero": tf32(0)}
KINDS: dict[type[Module], bool] = {Linear: True, PatchEmbed: True, Embedding: False, RMSNorm: False}  # with a bias?
ROUNDINGS: dict[str, tuple[str, dict[str, Callable[[Array], Array]]]] = {
    "bfloat16_weights": ("bfloat16", {"": bfloat16, " by cutting off bits": bfloat16_cut}),
    "float16_weights": ("float16", {"": float16}),
    "float8_weights": (
        "float8",
        {
            f" ({name}){how}": float8(*numbers, rows=rows)
            for name, numbers in {"e4m3": (3, -6, 448.0), "e5m2": (2, -14, 57344.0)}.items()
            for how, rows in {"": False, ", a factor for each row": True}.items()
        },
    ),
    "int8_weights": ("int8", _integers(8)),
    "int4_weights": ("int4", _integers(4)),
}
# Modules without a bias are rounded, too, where the biases of others are.
WIDER = {_said(name, how, bias=True): _said(name, how) for name, ways in ROUNDINGS.values() for how in ways}
FAULTS: Table = {
    **{
        (identifier, AttentionPoolingHead): {_said(name, how): _query(rounded) for how, rounded in ways.items()}
        for identifier, (name, ways) in ROUNDINGS.items()
        if name in ("bfloat16", "float16")
    },
    **{
        (identifier, kind): _ways(name, ways, bias=bias)
        for kind, bias in KINDS.items()
        for identifier, (name, ways) in ROUNDINGS.items()
        if kind is not RMSNorm or not identifier.startswith(("int", "float8"))
    },
    **{
        ("int8_activations", kind): {
            f"what goes into {{path}} is rounded to int8, {how}; its weights are {what}": _multiplying(
                matrix, activation
            )
            for how, activation in ACTIVATIONS.items()
            for what, matrix in MATRICES.items()
        }
        for kind in (Linear, PatchEmbed)
    },
    **{
        ("tf32_products", kind): {
            f"the product in {{path}} takes ten bits of its factors, as TF32 does, {how}": _multiplying(narrow, narrow)
            for how, narrow in TF32.items()
        }
        for kind in (Linear, PatchEmbed)
    },
    **{
        ("tf32_products", kind): {
            f"attention's products in {{path}} take ten bits of their factors, as TF32 does, {how}": varying(
                attend,
                query=narrow,
                keys=narrow,
                values=narrow,
                normalised=lambda scores, narrow=narrow: narrow(softmax(scores)),
            )
            for how, narrow in TF32.items()
        }
        for kind in (Attention, AttentionPoolingHead)
    },
    **DAMAGED,
}
