"""Mistakes in linear maps and in the gated MLP."""

from typing import Any

from aimv2_np.comparison.diagnosis.fault import Plant, Table, holding, with_fields
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

GELU_EXACT = ("gelu", "gelu_python")
GELU_TANH = ("gelu_new", "gelu_accurate", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh")
FAMILIES = (GELU_EXACT + GELU_TANH, ("silu", "swish"))  # who takes one for another of a family has no other activation
NAMES = ("silu", "gelu", "gelu_new", "quick_gelu", "relu", "sigmoid")
ACTIVATIONS = {name: f"the activation {name}" for name in NAMES} | {"linear": "no activation"}


def _transposed(linear: Any, *_: Any) -> Module | None:
    weight = linear.weight
    return with_fields(linear, weight=weight.reshape(weight.shape[::-1]).T) if min(weight.shape) > 1 else None


def _channels_first(m: Any) -> Array:
    """A weight (D, C, P, P) that is taken for one (D, P, P, C)."""
    size, channels, ph, pw = m.weight.shape
    return m.weight.reshape(size, ph, pw, channels).transpose(0, 3, 1, 2)


def _no_bias(module: Any, *_: Any) -> Module | None:
    return None if module.bias is None else with_fields(module, bias=0 * module.bias)


def _approximated(used: str, right: tuple[str, ...]) -> Plant:
    """The activation `used` where one of `right` belongs."""
    return lambda ffn, *_: with_fields(ffn, hidden_act=used) if ffn.hidden_act in right else None


def _other_activation(used: str) -> Plant:
    """The activation `used` where one of another family belongs."""
    family = next((family for family in FAMILIES if used in family), (used,))
    return lambda ffn, *_: None if ffn.hidden_act in family else with_fields(ffn, hidden_act=used)


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
    ("missing_bias", Linear): {"{path} leaves out its bias": _no_bias},
    ("missing_bias", PatchEmbed): {"{path} leaves out its bias": _no_bias},
    ("gate_up_swapped", SwiGLU): {
        "{path} exchanges gate and up: the activation belongs on gate_proj (Apple: fc1; timm: fc1_g), "
        "not on up_proj (fc3; fc1_x)": holding(gate_proj=lambda m: m.up_proj, up_proj=lambda m: m.gate_proj),
    },
    ("gelu_approximation", SwiGLU): {
        "{path} approximates GELU by tanh; the model's is the exact one": _approximated("gelu_new", GELU_EXACT),
        "{path} uses the exact GELU; the model's is its tanh approximation": _approximated("gelu", GELU_TANH),
    },
    ("wrong_activation", SwiGLU): {
        f"{{path}} uses {words}; the model's is {{m.hidden_act}}": _other_activation(name)
        for name, words in ACTIVATIONS.items()
    },
}
