"""Functions of arrays beyond those that the network uses, written with these, from which they have their derivatives.

Each takes what stands for the array's library (`Functions`), then what NumPy's function of that name takes.
"""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np

from aimv2_np.gradients.variable import Variable, computed

COMPOSED: dict[str, Callable[..., Any]] = {  # NumPy's name → the function
    "negative": lambda xp, a: -a,
    "positive": lambda xp, a: a,
    "square": lambda xp, a: a * a,
    "reciprocal": lambda xp, a: 1 / a,
    "remainder": lambda xp, a, b: a - b * (a // b),
    "minimum": lambda xp, a, b: -xp.maximum(-a, -b),
    "exp2": lambda xp, a: xp.exp(a * log(2)),
    "log2": lambda xp, a: xp.log(a) / log(2),
    "log10": lambda xp, a: xp.log(a) / log(10),
    "min": lambda xp, a, axis=None, keepdims=False: -(-a).max(axis, keepdims),
    "ptp": lambda xp, a, axis=None: a.max(axis) - a.min(axis),
    "std": lambda xp, a, *args, **options: xp.sqrt(xp.var(a, *args, **options)),
    "dot": lambda xp, a, b: a @ b if np.ndim(a) and np.ndim(b) else a * b,
    "outer": lambda xp, a, b: a.reshape(-1, 1) * b.reshape(1, -1),
    "ravel": lambda xp, a: a.reshape(-1),
    "swapaxes": lambda xp, a, axis1, axis2: a.swapaxes(axis1, axis2),
    "flip": lambda xp, a, axis=None: a[_along(a, axis, slice(None, None, -1))],
    "sort": lambda xp, a, axis=-1: xp.take_along_axis(a, xp.argsort(a, axis), axis),
    "diagonal": lambda xp, a: a[(xp.arange(a.shape[0]),) * 2],
    "trace": lambda xp, a: xp.diagonal(a).sum(),
    "copy": lambda xp, a: a,
}


def composed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function found under its name."""
    COMPOSED[function.__name__] = function
    return function


def _along(a: Variable, axis: Any, part: Any) -> tuple[Any, ...]:
    """An index that takes `part` along one axis, or along all."""
    return tuple(part if axis in (None, i, i - a.ndim) else slice(None) for i in range(a.ndim))


@composed
def var(
    xp: Any, a: Variable, axis: Any = None, *, ddof: float = 0, correction: float = 0, keepdims: bool = False
) -> Any:
    """Σ (a - mean)² / (n - ddof)"""
    apart = a - a.mean(axis, keepdims=True)
    total = (apart * apart).sum(axis, keepdims=keepdims)
    return total / (a.size // max(1, total.size) - ddof - correction)


@composed
def prod(xp: Any, a: Variable, axis: int | None = None, keepdims: bool = False) -> Any:
    """One after the other, which is right where some are 0, as e^Σ ln a is not"""
    rows = a if axis is not None else a.reshape(-1)
    index = 0 if axis is None else axis
    result = rows[_along(rows, index, 0)]
    for i in range(1, rows.shape[index]):
        result = result * rows[_along(rows, index, i)]
    if not keepdims:
        return result
    return result.reshape([1 if axis in (None, i, i - a.ndim) else n for i, n in enumerate(a.shape)])


@composed
def cumsum(xp: Any, a: Variable, axis: int | None = None) -> Any:
    """s_i = Σ_{j ≤ i} a_j, so ∂L/∂a_j = Σ_{i ≥ j} ∂L/∂s_i: the sums from the other end"""
    a, axis = (a.reshape(-1), 0) if axis is None else (a, axis)

    def back(g: Any) -> Any:
        return (xp.flip(xp.cumsum(xp.flip(g, axis), axis), axis),)

    return computed(a.value.cumsum(axis), (a,), back)


@composed
def clip(xp: Any, a: Any, min: Any = None, max: Any = None) -> Any:
    """∂a where min ≤ a ≤ max, else 0"""
    a = a if min is None else xp.maximum(a, min)
    return a if max is None else xp.minimum(a, max)


@composed
def squeeze(xp: Any, a: Variable, axis: Any = None) -> Any:
    """Without the axes of length 1"""
    return a.reshape(np.broadcast_to(0, a.shape).squeeze(axis).shape)


@composed
def expand_dims(xp: Any, a: Variable, axis: Any) -> Any:
    """With axes of length 1"""
    return a.reshape(np.expand_dims(np.broadcast_to(0, a.shape), axis).shape)


@composed
def take(xp: Any, a: Variable, indices: Any, axis: int | None = None) -> Any:
    """Some of the numbers, or of the rows along an axis"""
    indices = xp.asarray(indices)
    return a.reshape(-1)[indices] if axis is None else a[_along(a, axis, indices)]


@composed
def repeat(xp: Any, a: Variable, repeats: Any, axis: int | None = None) -> Any:
    """Each a number of times"""
    n = a.size if axis is None else a.shape[axis]
    return xp.take(a, xp.repeat(xp.arange(n), repeats), axis)


@composed
def sin(xp: Any, a: Variable) -> Any:
    """∂ sin a = cos a ∂a"""
    return computed(xp.sin(a.value), (a,), lambda g: (g * xp.cos(a.value),))


@composed
def cos(xp: Any, a: Variable) -> Any:
    """∂ cos a = -sin a ∂a"""
    return computed(xp.cos(a.value), (a,), lambda g: (-g * xp.sin(a.value),))


@composed
def log1p(xp: Any, a: Variable) -> Any:
    """∂ ln(1 + a) = ∂a / (1 + a)"""
    return computed(xp.log1p(a.value), (a,), lambda g: (g / (1 + a.value),))


@composed
def expm1(xp: Any, a: Variable) -> Any:
    """∂(e^a - 1) = e^a ∂a"""
    return computed(xp.expm1(a.value), (a,), lambda g: (g * xp.exp(a.value),))
