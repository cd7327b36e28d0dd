"""The derivatives of the activation functions, element by element.

    σ'(x) = σ(x) (1 - σ(x)),    Φ'(x) = φ(x) = e^(-x²/2) / √(2π),    tanh'(x) = 1 - tanh²(x)

and what follows from them by the product and the chain rule. At a kink (0 of relu, 3 of hardswish) the derivative is
PyTorch's.
"""

from collections.abc import Callable
from math import pi, sqrt

from aimv2_np.backends.arrays import namespace
from aimv2_np.network import activations
from aimv2_np.network.activations import sigmoid
from aimv2_np.network.erf import erf
from aimv2_np.shapes import Array


def silu(x: Array) -> Array:
    """(x σ(x))' = σ(x) + x σ(x) (1 - σ(x)). See docs/equations.md, (27)."""
    s = sigmoid(x)
    return s + x * s * (1 - s)


def quick_gelu(x: Array) -> Array:
    """(x σ(cx))' = σ(cx) + c x σ(cx) (1 - σ(cx)), c = 1.702"""
    s = sigmoid(1.702 * x)
    return s + 1.702 * x * s * (1 - s)


def logistic(x: Array) -> Array:
    """σ'(x) = σ(x) (1 - σ(x))"""
    s = sigmoid(x)
    return s * (1 - s)


def density(x: Array) -> Array:
    """φ(x) = e^(-x²/2) / √(2π)"""
    return namespace(x).exp(-0.5 * x * x) / sqrt(2 * pi)


def gelu(x: Array) -> Array:
    """(x Φ(x))' = Φ(x) + x φ(x)"""
    return 0.5 * (1 + erf(x / sqrt(2))) + x * density(x)


def gelu_10(x: Array) -> Array:
    """That of gelu where it lies within [-10, 10], else 0"""
    return gelu(x) * _within(activations.gelu(x), -10, 10)


def _of_tanh(factor: float) -> Callable[[Array], Array]:
    """(x/2 (1 + tanh u))' = (1 + tanh u)/2 + x/2 (1 - tanh² u) u',  u = f (x + 0.044715 x³)"""

    def derivative(x: Array) -> Array:
        t = namespace(x).tanh(factor * x * (1 + 0.044715 * x * x))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * factor * (1 + 3 * 0.044715 * x * x)

    return derivative


def relu(x: Array) -> Array:
    """1 where x > 0, else 0"""
    return (x > 0).astype(x.dtype)


def relu2(x: Array) -> Array:
    """(max(x, 0)²)' = 2 max(x, 0)"""
    return 2 * activations.relu(x)


def relu6(x: Array) -> Array:
    """1 where 0 < x < 6, else 0"""
    return ((x > 0) & (x < 6)).astype(x.dtype)


def hardswish(x: Array) -> Array:
    """0 where x ≤ -3, 1 where x ≥ 3, between them (2x + 3) / 6"""
    xp = namespace(x)
    return xp.where(x <= -3, 0 * x, xp.where(x >= 3, 0 * x + 1, (2 * x + 3) / 6))


def leaky_relu(x: Array) -> Array:
    """1 where x > 0, else 1/100"""
    return namespace(x).where(x > 0, 0 * x + 1, 0 * x + 0.01)


def linear(x: Array) -> Array:
    """1"""
    return 0 * x + 1


def mish(x: Array) -> Array:
    """(x tanh s)' = tanh s + x (1 - tanh² s) σ(x),  s = ln(1 + e^x), s' = σ(x)"""
    xp = namespace(x)
    t = xp.tanh(xp.logaddexp(x, 0 * x))
    return t + x * (1 - t * t) * sigmoid(x)


def laplace(x: Array) -> Array:
    """Φ'((x - µ)/s)/s = φ((x - µ)/s)/s"""
    return density((x - 0.707107) / 0.282095) / 0.282095


def tanh(x: Array) -> Array:
    """1 - tanh²(x)"""
    t = namespace(x).tanh(x)
    return 1 - t * t


def _within(x: Array, low: float, high: float) -> Array:
    return ((x >= low) & (x <= high)).astype(x.dtype)


# Activation → its derivative; several names in ACTIVATIONS are of one activation.
DERIVATIVES: dict[activations.Activation, Callable[[Array], Array]] = {
    activations.gelu: gelu,
    activations.gelu_10: gelu_10,
    activations.gelu_fast: _of_tanh(0.7978845608),
    activations.gelu_tanh: _of_tanh(sqrt(2 / pi)),
    activations.hardswish: hardswish,
    activations.laplace: laplace,
    activations.leaky_relu: leaky_relu,
    activations.linear: linear,
    activations.mish: mish,
    activations.quick_gelu: quick_gelu,
    activations.relu: relu,
    activations.relu2: relu2,
    activations.relu6: relu6,
    activations.sigmoid: logistic,
    activations.silu: silu,
    activations.tanh: tanh,
}
