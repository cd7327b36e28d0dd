"""Mistakes in linear maps and in the gated MLP."""

from typing import Any

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Fault, Variants, with_fields
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.swiglu import SwiGLU

GELU_EXACT = ("gelu", "gelu_python")
GELU_TANH = ("gelu_new", "gelu_accurate", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh")
ACTIVATIONS = ("silu", "gelu", "gelu_new", "quick_gelu", "relu", "sigmoid", "linear")


def transposed_linear(linear: Any, path: str, _: Context) -> Variants:
    """The matrix stored the other way round."""
    weight = linear.weight
    if min(weight.shape) > 1:
        yield (
            f"{path} uses its weight transposed: it is stored (outputs, inputs), y = x Wᵀ",
            with_fields(linear, weight=weight.reshape(weight.shape[::-1]).T),
        )


def transposed_patches(embed: Any, path: str, _: Context) -> Variants:
    """The convolution's axes in another order."""
    weight = embed.weight
    size, channels, ph, pw = weight.shape
    across = weight.swapaxes(2, 3).reshape(weight.shape)
    yield f"{path} swaps rows and columns inside of each patch", with_fields(embed, weight=across)
    last = weight.transpose(0, 2, 3, 1).reshape(weight.shape)
    yield f"{path} reads a channels-last weight as channels-first", with_fields(embed, weight=last)
    first = weight.reshape(size, ph, pw, channels).transpose(0, 3, 1, 2)
    yield f"{path} reads a channels-first weight as channels-last", with_fields(embed, weight=first)


def missing_bias(module: Any, path: str, _: Context) -> Variants:
    """The bias left out."""
    if module.bias is not None:
        yield f"{path} leaves out its bias", with_fields(module, bias=0 * module.bias)


def gate_up_swapped(ffn: Any, path: str, _: Context) -> Variants:
    """Gate and up exchanged."""
    yield (
        f"{path} exchanges gate and up: the activation belongs on gate_proj (Apple: fc1; timm: fc1_g), "
        "not on up_proj (fc3; fc1_x)",
        with_fields(ffn, gate_proj=ffn.up_proj, up_proj=ffn.gate_proj),
    )


def gelu_approximation(ffn: Any, path: str, _: Context) -> Variants:
    """The exact GELU for its tanh approximation, or the other way round."""
    if ffn.hidden_act in GELU_EXACT:
        yield f"{path} approximates GELU by tanh; the model's is the exact one", with_fields(ffn, hidden_act="gelu_new")
    if ffn.hidden_act in GELU_TANH:
        yield f"{path} uses the exact GELU; the model's is its tanh approximation", with_fields(ffn, hidden_act="gelu")


def wrong_activation(ffn: Any, path: str, _: Context) -> Variants:
    """Another activation altogether."""
    family = next((f for f in (GELU_EXACT + GELU_TANH, ("silu", "swish")) if ffn.hidden_act in f), (ffn.hidden_act,))
    for name in ACTIVATIONS:
        if name not in family:
            used = "no activation" if name == "linear" else f"the activation {name}"
            yield f"{path} uses {used}; the model's is {ffn.hidden_act}", with_fields(ffn, hidden_act=name)


FAULTS = (
    Fault("transposed_weight", Linear, transposed_linear),
    Fault("transposed_weight", PatchEmbed, transposed_patches),
    Fault("missing_bias", Linear, missing_bias),
    Fault("missing_bias", PatchEmbed, missing_bias),
    Fault("gate_up_swapped", SwiGLU, gate_up_swapped),
    Fault("gelu_approximation", SwiGLU, gelu_approximation),
    Fault("wrong_activation", SwiGLU, wrong_activation),
)
