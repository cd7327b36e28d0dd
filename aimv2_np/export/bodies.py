"""What the network's operations write into a graph, where their textbook is not already what runtimes know best.

Equations as in `network`; operators as in the ONNX specification, in the forms that runtimes fuse.
"""

from collections.abc import Callable
from math import sqrt

import numpy as np

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.export.symbol import Symbol
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.attention import attention
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.tree.recorder import observe


@linear.register(Symbol)
def _linear(x: Symbol, weight: Symbol, bias: Symbol | None = None) -> Symbol:
    """One product in the dtype of `x`, of the transposed weight, which is stored so."""
    y = x @ weight.T
    return y if bias is None else y + bias


@rms_norm.register(Symbol)
def _rms_norm(x: Symbol, weight: Symbol, eps: float) -> Symbol:
    """Squares are a power here, as runtimes look for it when they make one operator of these six."""
    wide = widen(x)
    mean = namespace(x).mean(wide**2.0, axis=-1, keepdims=True)
    normalised: Symbol = wide / namespace(x).sqrt(mean + eps)
    return normalised.astype(x.dtype) * weight


@patch_embed.register(Symbol)
def _patch_embed(pixels: Symbol, weight: Symbol, bias: Symbol) -> Symbol:
    """A convolution whose stride is the patch; pixels that fill no patch are not reached. There is none in bfloat16."""
    dtype = pixels.dtype
    if dtype.name == "bfloat16":
        pixels, weight, bias = (widen(array) for array in (pixels, weight, bias))
    batch, _, height, width = pixels.shape
    size, _, ph, pw = weight.shape
    rows, columns = height // ph, width // pw
    maps = pixels.graph.add(
        "Conv", [pixels, weight, bias], (batch, size, rows, columns), pixels.dtype, kernel_shape=[ph, pw],
        strides=[ph, pw],
    )  # fmt: skip
    flat: Symbol = pixels.graph.add("Reshape", [maps, np.array([0, 0, -1])], (batch, size, rows * columns), maps.dtype)
    return flat.swapaxes(1, 2).astype(dtype)


@attention.register(Symbol)
def _attention(q: Symbol, k: Symbol, v: Symbol, scale: float, view: View = EVERYONE) -> Symbol:
    """The product of queries that are scaled before, so that half precision does not overflow; softmax in float32."""
    xp = namespace(q)
    scores = widen((scale * q) @ k.swapaxes(-1, -2))
    observe("scores", scores)
    allowed = view.allowed(xp, q.shape[2], k.shape[2])
    if allowed is not None:
        scores = xp.where(allowed, scores, np.finfo(np.float32).min)
    probs: Symbol = q.graph.add("Softmax", [scores], scores.shape, scores.dtype, axis=-1)
    observe("probs", probs)
    return probs.astype(q.dtype) @ v


@gated.register(Symbol)
def _gated(gate: Symbol, up: Symbol, hidden_act: str) -> Symbol:
    """act(gate) * up."""
    activation = OPERATORS.get(hidden_act, ACTIVATIONS[hidden_act])
    product: Symbol = activation(widen(gate)) * widen(up)
    return product.astype(gate.dtype)


def _one(kind: str, x: Symbol) -> Symbol:
    result: Symbol = x.graph.add(kind, [x], x.shape, x.dtype)
    return result


def sigmoid(x: Symbol) -> Symbol:
    """σ(x)."""
    return _one("Sigmoid", x)


def silu(x: Symbol) -> Symbol:
    """x · σ(x)."""
    return x * sigmoid(x)


def gelu(x: Symbol) -> Symbol:
    """x · Φ(x), in the order in which runtimes look for it."""
    return x * (1.0 + _one("Erf", x / sqrt(2))) * 0.5


# Activations whose equation is written without an operator that there is for them.
OPERATORS: dict[str, Callable[[Symbol], Symbol]] = {
    "gelu": gelu,
    "gelu_10": lambda x: namespace(x).clip(gelu(x), -10, 10),
    "gelu_python": gelu,
    "laplace": lambda x: 0.5 * (1.0 + _one("Erf", (x - 0.707107) / (0.282095 * sqrt(2)))),
    "mish": lambda x: x * namespace(x).tanh(_one("Softplus", x)),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
}
