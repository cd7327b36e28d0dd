"""Mistakes in linear maps and in the gated MLP."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, copied, holding, varying, with_fields
from aimv2_np.network import activations
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

GELU_EXACT = ("gelu", "gelu_python")
GELU_TANH = ("gelu_new", "gelu_accurate", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh")
FAMILIES = (GELU_EXACT + GELU_TANH, ("silu", "swish"))  # who takes one for another of a family has no other activation
NAMES = (
    "silu", "gelu", "gelu_new", "quick_gelu", "relu", "sigmoid",
    "leaky_relu", "mish", "relu2", "hardswish", "tanh", "relu6",
)  # fmt: skip
ACTIVATIONS = {name: f"the activation {name}" for name in NAMES} | {"linear": "no activation"}


def _transposed(linear: Any, *_: Any) -> Module | None:
    weight = linear.weight
    return with_fields(linear, weight=weight.reshape(weight.shape[::-1]).T) if min(weight.shape) > 1 else None


def _channels_first(m: Any) -> Array:
    """A weight (D, C, P, P) that is taken for one (D, P, P, C)."""
    size, channels, ph, pw = m.weight.shape
    return m.weight.reshape(size, ph, pw, channels).transpose(0, 3, 1, 2)


def _flipped(axes: tuple[int, ...]) -> Plant:
    """A weight that is reversed along some axes."""
    return holding(weight=lambda m: np.flip(m.weight, axes))


def _with_bias(times: int) -> Plant:
    return lambda m, *_: None if m.bias is None else with_fields(m, bias=m.bias.dtype.type(times) * m.bias)


def ffn(
    m: Any,
    x: Array,
    *,
    combined: Callable[[Array, Array, Callable[[Array], Array]], Array] = lambda gate, up, act: act(gate) * up,
) -> Array:
    """The gated MLP with another way of combining gate, up and the activation."""
    result: Array = m.down_proj(combined(m.gate_proj(x), m.up_proj(x), activations.ACTIVATIONS[m.hidden_act]))
    return result


def _stacked(regroup: Callable[[Array], tuple[Array, Array]]) -> Plant:
    """Gate and up with the rows that `regroup` makes of both weights, one below the other."""

    def plant(m: Any, *_: Any) -> Module | None:
        parts = (m.gate_proj, m.up_proj)
        weights = regroup(np.concatenate([part.weight for part in parts]))
        biases: tuple[Array | None, Array | None] = (None, None)
        if parts[0].bias is not None and parts[1].bias is not None:
            biases = regroup(np.concatenate([part.bias for part in parts]))
        gate, up = (Linear(weight, bias) for weight, bias in zip(weights, biases, strict=True))
        return with_fields(m, gate_proj=gate, up_proj=up)

    return plant


def _halves(rows: Array) -> tuple[Array, Array]:
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def _taking_turns(rows: Array) -> Array:
    """Rows of the two halves, one of each in turn."""
    return np.stack(_halves(rows), axis=1).reshape(rows.shape)


def _of_layer(offset: int) -> Plant:
    """A module that is that of another layer."""

    def plant(module: Any, path: str, context: Context) -> Module | None:
        if "layers." not in path:
            return None
        other: Any = context.modules.get(re.sub(r"(?<=layers\.)\d+", lambda number: str(int(number[0]) + offset), path))
        same = other is None or other is module or other.weight.shape != module.weight.shape
        return None if same else copied(other)

    return plant


def _negative(m: Any, path: str, context: Context) -> Module | None:
    """The negative of a weight; that of q or k, where nobody recorded them, is attention's negated query."""
    unseen = path.endswith(("q_proj", "k_proj")) and path not in context.names and m.bias is None
    return None if unseen else with_fields(m, weight=-m.weight)


def _approximated(used: str, right: tuple[str, ...]) -> Plant:
    """The activation `used` where one of `right` belongs."""
    return lambda ffn, *_: with_fields(ffn, hidden_act=used) if ffn.hidden_act in right else None


def _other_activation(used: str) -> Plant:
    """The activation `used` where one of another family belongs."""
    family = next((family for family in FAMILIES if used in family), (used,))
    return lambda ffn, *_: None if ffn.hidden_act in family else with_fields(ffn, hidden_act=used)


def _left_out(m: Any, path: str, context: Context) -> Module | None:
    """One of the two projections into the common space, passed by."""
    return computing(lambda m, x: x)(m, path, context) if path.endswith("_projection") else None


def _of_unit_vectors(m: Any, path: str, context: Context) -> Module | None:
    """One of these two that projects vectors of length one."""
    unit = computing(lambda m, x: type(m).forward(m, l2_normalize(x)))
    return unit(m, path, context) if path.endswith("_projection") else None


PROJECTIONS = {"visual_projection": "text_projection", "text_projection": "visual_projection"}


def _of_other_tower(m: Any, path: str, context: Context) -> Module | None:
    """One of these two that has the other one's weights."""
    other: Any = context.modules.get(PROJECTIONS[path]) if path in PROJECTIONS else None
    return None if other is None or other.weight.shape != m.weight.shape else with_fields(m, weight=other.weight)


def _elu(x: Array) -> Array:
    result: Array = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    return result


def _leaky(slope: float) -> Callable[[Array], Array]:
    return lambda x: np.where(x > 0, x, x.dtype.type(slope) * x)


# Activations that no configuration names.
UNNAMED: dict[str, Callable[[Array], Array]] = {
    "elu": _elu,
    "selu": lambda x: x.dtype.type(1.0507009873554805) * np.where(x > 0, x, x.dtype.type(1.6732632423543772) * _elu(x)),
    "softplus": lambda x: np.logaddexp(x, 0 * x),
    **{f"leaky_relu with a slope of {slope:g}": _leaky(slope) for slope in (0.05, 0.1, 0.2, 0.25, 0.3)},
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "logsigmoid": lambda x: -np.logaddexp(-x, 0 * x),
    "tanhshrink": lambda x: x - np.tanh(x),
    "exp": np.exp,
    "x²": lambda x: x * x,
    "|x|": np.abs,
    "x · σ(x)²": lambda x: x * activations.sigmoid(x) ** 2,
}
COMBINED: dict[str, Callable[[Array, Array, Callable[[Array], Array]], Array]] = {
    "act(gate), without up": lambda gate, up, act: act(gate),
    "act(up), without gate": lambda gate, up, act: act(up),
    "up, without gate": lambda gate, up, act: up,
    "act(gate) + up": lambda gate, up, act: act(gate) + up,
    "gate + act(up)": lambda gate, up, act: gate + act(up),
    "act(gate · up)": lambda gate, up, act: act(gate * up),
    "act(gate + up)": lambda gate, up, act: act(gate + up),
    "act(gate) · act(up)": lambda gate, up, act: act(gate) * act(up),
    "act(act(gate)) · up": lambda gate, up, act: act(act(gate)) * up,
    "act(gate) · (1 + up)": lambda gate, up, act: act(gate) * (1 + up),
    "(1 + act(gate)) · up": lambda gate, up, act: (1 + act(gate)) * up,
    "act(gate) · gate, without up": lambda gate, up, act: act(gate) * gate,
    "act(up) · up, without gate": lambda gate, up, act: act(up) * up,
    "act(gate) - up": lambda gate, up, act: act(gate) - up,
    "-act(gate) · up": lambda gate, up, act: -act(gate) * up,
}
BIASES: dict[str, Plant] = {
    "{path} leaves out its bias": _with_bias(0),
    "{path} adds its bias twice": _with_bias(2),
    "{path} subtracts its bias": _with_bias(-1),
}
LAYERS = {
    "{path} has the weights of the layer before": _of_layer(-1),
    "{path} has the weights of the layer after": _of_layer(1),
}
FAULTS: Table = {
    ("transposed_weight", Linear): {
        "{path} uses its weight transposed: it is stored (outputs, inputs), y = x Wᵀ": _transposed,
    },
    ("transposed_weight", PatchEmbed): {
        "{path} swaps rows and columns inside of each patch": holding(
            weight=lambda m: m.weight.swapaxes(2, 3).reshape(m.weight.shape)
        ),
        "{path} reads a channels-last weight as channels-first": holding(
            weight=lambda m: m.weight.transpose(0, 2, 3, 1).reshape(m.weight.shape)
        ),
        "{path} reads a channels-first weight as channels-last": holding(weight=_channels_first),
    },
    ("weight_reversed", PatchEmbed): {
        f"{{path}} reverses the {what} of its kernel": _flipped(axes)
        for what, axes in {
            "rows and columns": (2, 3),
            "rows": (2,),
            "columns": (3,),
            "channels, rows and columns": (1, 2, 3),
        }.items()
    },
    ("weight_reversed", Linear): {
        "{path} has the rows of its weight in reverse order": _flipped((0,)),
        "{path} has the columns of its weight in reverse order": _flipped((1,)),
    },
    ("missing_bias", Linear): BIASES,
    ("missing_bias", PatchEmbed): BIASES,
    ("gate_up_swapped", SwiGLU): {
        "{path} exchanges gate and up: the activation belongs on gate_proj (Apple: fc1; timm: fc1_g), "
        "not on up_proj (fc3; fc1_x)": holding(gate_proj=lambda m: m.up_proj, up_proj=lambda m: m.gate_proj),
        "{path} computes gate · act(up); it is act(gate) · up: the activation belongs on gate_proj (Apple: fc1; timm: "
        "fc1_g)": varying(ffn, combined=lambda gate, up, act: gate * act(up)),
    },
    ("gate_up_interleaved", SwiGLU): {
        "{path} takes gate and up from the rows of a stacked weight in turn; it holds all of gate, then all of up": (
            _stacked(lambda rows: (rows[::2], rows[1::2]))
        ),
        "{path} takes up and gate from the rows of a stacked weight in turn; it holds all of gate, then all of up": (
            _stacked(lambda rows: (rows[1::2], rows[::2]))
        ),
        "{path} takes gate for the first half of a stacked weight whose rows take turns": _stacked(
            lambda rows: _halves(_taking_turns(rows))
        ),
        "{path} takes up for the first half of a stacked weight whose rows take turns": _stacked(
            lambda rows: _halves(_taking_turns(rows))[::-1]
        ),
    },
    ("wrong_gating", SwiGLU): {
        f"{{path}} computes {words}; it is act(gate) · up": varying(ffn, combined=combined)
        for words, combined in COMBINED.items()
    },
    ("wrong_layer", Linear): LAYERS,
    ("wrong_layer", RMSNorm): LAYERS,
    ("weight_sign", RMSNorm): {"{path} has the negative of its gain": holding(weight=lambda m: -m.weight)},
    ("weight_reversed", RMSNorm): {"{path} has its gain in reverse order": _flipped((0,))},
    ("weight_sign", Linear): {"{path} has the negative of its weight": _negative},
    ("missing_projection", Linear): {
        "{path} is left out: what it is given goes on as it is": _left_out,
    },
    ("wrong_l2", Linear): {"{path} is given vectors of length one; they are normalised after it": _of_unit_vectors},
    ("projections_exchanged", Linear): {"{path} has the weights of the other tower's projection": _of_other_tower},
    ("gelu_approximation", SwiGLU): {
        "{path} approximates GELU by tanh; the model's is the exact one": _approximated("gelu_new", GELU_EXACT),
        "{path} uses the exact GELU; the model's is its tanh approximation": _approximated("gelu", GELU_TANH),
    },
    ("wrong_activation", SwiGLU): {
        f"{{path}} uses {words}; the model's is {{m.hidden_act}}": _other_activation(name)
        for name, words in ACTIVATIONS.items()
    }
    | {
        f"{{path}} uses the activation {name}; the model's is {{m.hidden_act}}": varying(
            ffn, combined=lambda gate, up, _, used=used: used(gate) * up
        )
        for name, used in UNNAMED.items()
    },
}
