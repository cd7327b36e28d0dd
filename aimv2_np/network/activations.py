"""The activation functions that a configuration's `hidden_act` may name, each as its equation, element by element.

Φ is the cumulative distribution of the standard normal, σ the logistic function.
"""

from collections.abc import Callable
from math import pi, sqrt

from aimv2_np.backends.arrays import namespace
from aimv2_np.network.erf import erf
from aimv2_np.shapes import Array

Activation = Callable[[Array], Array]


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + e^-x), for x < 0 written as e^x / (1 + e^x): the exponential overflows nowhere."""
    xp = namespace(x)
    e = xp.exp(-abs(x))
    return xp.where(x < 0, e, 1) / (1 + e)


def silu(x: Array) -> Array:
    """x · σ(x). Elfwing et al. 2017 (arXiv:1702.03118); also called swish. See docs/equations.md, (12)."""
    return x * sigmoid(x)


def gelu(x: Array) -> Array:
    """x · Φ(x). Hendrycks & Gimpel 2016 (arXiv:1606.08415)."""
    return x * (0.5 * (1 + erf(x / sqrt(2))))


def gelu_tanh(x: Array) -> Array:
    """GELU by the tanh approximation: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))."""
    return 0.5 * x * (1 + namespace(x).tanh(sqrt(2 / pi) * (x + 0.044715 * (x * x * x))))


def gelu_fast(x: Array) -> Array:
    """The tanh approximation with √(2/π) rounded to 0.7978845608."""
    return 0.5 * x * (1 + namespace(x).tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))


def gelu_10(x: Array) -> Array:
    """GELU clipped to [-10, 10]."""
    return namespace(x).clip(gelu(x), -10, 10)


def quick_gelu(x: Array) -> Array:
    """x · σ(1.702 x)."""
    return x * sigmoid(1.702 * x)


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return namespace(x).maximum(x, 0)


def relu2(x: Array) -> Array:
    """max(x, 0)². So et al. 2021 (arXiv:2109.08668)."""
    return relu(x) ** 2


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return namespace(x).clip(x, 0, 6)


def hardswish(x: Array) -> Array:
    """x · min(max(x + 3, 0), 6) / 6. Howard et al. 2019 (arXiv:1905.02244)."""
    return x * relu6(x + 3) / 6


def leaky_relu(x: Array) -> Array:
    """x where x > 0, else x / 100."""
    return namespace(x).where(x > 0, x, 0.01 * x)


def linear(x: Array) -> Array:
    """x."""
    return x


def mish(x: Array) -> Array:
    """x · tanh(ln(1 + e^x)). Misra 2019 (arXiv:1908.08681)."""
    xp = namespace(x)
    return x * xp.tanh(xp.logaddexp(x, 0 * x))


def laplace(x: Array) -> Array:
    """Φ((x - µ) / s) with µ = 0.707107 and s = 0.282095. Ma et al. 2022 (arXiv:2209.10655), eq. 17."""
    return 0.5 * (1 + erf((x - 0.707107) / (0.282095 * sqrt(2))))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return namespace(x).tanh(x)


ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_10": gelu_10,
    "gelu_accurate": gelu_tanh,
    "gelu_fast": gelu_fast,
    "gelu_new": gelu_tanh,
    "gelu_python": gelu,
    "gelu_python_tanh": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "hardswish": hardswish,
    "laplace": laplace,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "mish": mish,
    "quick_gelu": quick_gelu,
    "relu": relu,
    "relu2": relu2,
    "relu6": relu6,
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
}
