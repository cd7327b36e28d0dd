"""The functions that the network uses between its operations, each with its derivative.

They stand for the library's own where `namespace(x)` is asked of a variable. Where arrays of different shapes meet, the
smaller one is repeated (broadcasting), and its gradient is the sum over the repetitions.
"""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from aimv2_np.gradients.composed import COMPOSED
from aimv2_np.gradients.embedding import put_back
from aimv2_np.gradients.variable import FUNCTIONS, HALF, NAMES, Variable, computed, value_of
from aimv2_np.shapes import Array

# Functions of the library that have no derivative, or none but zero: they take the numbers.
PLAIN = (
    "all", "allclose", "any", "argmax", "argmin", "argsort", "array_equal", "ceil", "count_nonzero", "empty_like",
    "equal", "floor", "floor_divide", "full_like", "greater", "greater_equal", "isclose", "isfinite", "isinf", "isnan",
    "less", "less_equal", "ndim", "nonzero", "not_equal", "ones_like", "result_type", "rint", "round", "searchsorted",
    "shape", "sign", "size", "trunc", "zeros_like",
)  # fmt: skip


class Functions(ModuleType):
    """Stands for `numpy` or `cupy` where some of the arrays are variables; what has none goes to the library."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.rules = Rules(name)

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self.rules.xp, name)
        if isinstance(plain, type) or not callable(plain):  # dtypes, π
            return plain

        def function(*args: Any, **kwargs: Any) -> Any:
            if not _any_variable((*args, *kwargs.values())):
                return plain(*args, **kwargs)
            if name in PLAIN:
                return plain(*map(value_of, args), **{key: value_of(value) for key, value in kwargs.items()})
            ours = NAMES.get(name, name)
            if ours in COMPOSED:
                return COMPOSED[ours](self, *args, **kwargs)
            if ours not in KNOWN:
                there = ", ".join(sorted({*KNOWN, *COMPOSED}))
                raise TypeError(f"{self.__name__}.{name} has no derivative here; use one of {there}")
            return getattr(self.rules, ours)(*args, **kwargs)

        return function


def _any_variable(args: Sequence[Any]) -> bool:
    return any(_any_variable(arg) if isinstance(arg, list | tuple) else isinstance(arg, Variable) for arg in args)


class Rules:
    """What each function gives, and its derivative, for the arrays of `numpy` or `cupy`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def xp(self) -> ModuleType:
        return sys.modules[self.name]

    def add(self, a: Any, b: Any) -> Variable:
        """∂(a + b) = ∂a + ∂b"""
        return _pair(value_of(a) + value_of(b), a, b, lambda g: g, lambda g: g)

    def subtract(self, a: Any, b: Any) -> Variable:
        """∂(a - b) = ∂a - ∂b"""
        return _pair(value_of(a) - value_of(b), a, b, lambda g: g, lambda g: -g)

    def multiply(self, a: Any, b: Any) -> Variable:
        """∂(ab) = b ∂a + a ∂b"""
        x, y = value_of(a), value_of(b)
        return _pair(x * y, a, b, lambda g: g * y, lambda g: g * x)

    def divide(self, a: Any, b: Any) -> Variable:
        """∂(a/b) = ∂a/b - (a/b²) ∂b"""
        x, y = value_of(a), value_of(b)
        result = x / y
        return _pair(result, a, b, lambda g: g / y, lambda g: -g * result / y)

    def power(self, a: Any, exponent: Any) -> Variable:
        """∂(aⁿ) = n aⁿ⁻¹ ∂a + aⁿ ln a ∂n, the latter where a is above 0"""
        x, n = value_of(a), value_of(exponent)
        result = x**n

        def back_n(g: Array) -> Array:
            return g * result * self.xp.log(self.xp.where(x > 0, x, 1)).astype(result.dtype)

        return _pair(result, a, exponent, lambda g: g * n * x ** (n - 1 + (n == 0)), back_n)

    def matmul(self, a: Any, b: Any) -> Variable:
        """∂(AB) = ∂A B + A ∂B; of matrices, stacks of them, and vectors: a row in front, a column behind"""
        x, y = value_of(a), value_of(b)
        left, right = (x[None] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)

        def whole(g: Array) -> Array:
            g = g[..., None] if y.ndim == 1 else g
            return g[..., None, :] if x.ndim == 1 else g

        def back_b(g: Array) -> Array:
            found = left.swapaxes(-1, -2) @ whole(g)
            return found[..., 0] if y.ndim == 1 else found

        return _pair(x @ y, a, b, lambda g: whole(g) @ right.swapaxes(-1, -2), back_b)

    def einsum(self, subscripts: str, a: Any, b: Any) -> Variable:
        """∂ Σ ab = Σ b ∂a + Σ a ∂b; of two arrays, where each letter of one is in the other or in the result"""
        left, right, out = _letters(subscripts)
        x, y = value_of(a), value_of(b)
        sizes = dict(zip(left, x.shape, strict=False)) | dict(zip(right, y.shape, strict=False))
        if any(sizes[letter] != n for letter, n in zip(left, x.shape, strict=False)):
            raise TypeError(
                f"einsum({subscripts!r}) has shapes {x.shape} and {y.shape}; expected one size of each letter"
            )
        return _pair(
            self.xp.einsum(subscripts, x, y), a, b,
            lambda g: self.xp.einsum(f"{out},{right}->{left}", g, y),
            lambda g: self.xp.einsum(f"{left},{out}->{right}", x, g),
        )  # fmt: skip

    def exp(self, a: Variable) -> Variable:
        """∂e^a = e^a ∂a"""
        result = self.xp.exp(a.value)
        return _one(result, a, lambda g: g * result)

    def log(self, a: Variable) -> Variable:
        """∂ ln a = ∂a/a"""
        return _one(self.xp.log(a.value), a, lambda g: g / a.value)

    def sqrt(self, a: Variable) -> Variable:
        """∂√a = ∂a / 2√a; at 0, where that is infinite, 0"""
        result = self.xp.sqrt(a.value)
        return _one(result, a, lambda g: g / self.xp.where(result == 0, np.inf, 2 * result).astype(g.dtype))

    def tanh(self, a: Variable) -> Variable:
        """∂ tanh a = (1 - tanh² a) ∂a"""
        result = self.xp.tanh(a.value)
        return _one(result, a, lambda g: g * (1 - result * result))

    def logaddexp(self, a: Any, b: Any) -> Variable:
        """∂ ln(e^a + e^b) = (e^a ∂a + e^b ∂b) / (e^a + e^b)"""
        x, y = value_of(a), value_of(b)
        result = self.xp.logaddexp(x, y)
        return _pair(result, a, b, lambda g: g * self.xp.exp(x - result), lambda g: g * self.xp.exp(y - result))

    def abs(self, a: Variable) -> Variable:
        """∂|a| = ±∂a with the sign of a, + at 0: what is written with |a|, as σ is with e^-|a|, is then right there"""
        return _one(abs(a.value), a, lambda g: self.xp.where(a.value < 0, -g, g))

    def copysign(self, a: Any, b: Any) -> Variable:
        """|a| with the sign of b: ±∂a, - where the signs differ, and nothing for b"""
        x, y = value_of(a), value_of(b)
        result = self.xp.copysign(x, y)
        return _pair(result, a, b, lambda g: self.xp.where(result == x, g, -g), lambda g: 0 * g)

    def maximum(self, a: Any, b: Any) -> Variable:
        """∂ of the larger one; where both are equal, of the first: a length that is 1, in max(length, 1)"""
        x, y = value_of(a), value_of(b)
        first = x >= y
        return _pair(self.xp.maximum(x, y), a, b, lambda g: g * first, lambda g: g * ~first)

    def where(self, condition: Any, a: Any, b: Any) -> Variable:
        """∂a where the condition holds, else ∂b"""
        chosen = value_of(condition)
        zero = np.float32(0)
        return _pair(
            self.xp.where(chosen, value_of(a), value_of(b)), a, b,
            lambda g: self.xp.where(chosen, g, zero.astype(g.dtype)),
            lambda g: self.xp.where(chosen, zero.astype(g.dtype), g),
        )  # fmt: skip

    def sum(self, a: Variable, axis: Any = None, keepdims: bool = False) -> Variable:
        """∂ Σ a = Σ ∂a: every summand has the gradient of the sum"""
        return _one(a.value.sum(axis=axis, keepdims=keepdims), a, lambda g: self._spread(g, a.value, axis, keepdims))

    def mean(self, a: Variable, axis: Any = None, keepdims: bool = False) -> Variable:
        """The sum, divided by the number of summands"""
        if not a.size:
            raise ValueError(f"a mean is taken of no numbers, shape {a.shape}; expected some: is the batch empty?")
        result = a.value.mean(axis=axis, keepdims=keepdims)
        number = a.size // max(1, int(np.prod(result.shape)))
        return _one(result, a, lambda g: self._spread(g, a.value, axis, keepdims) / number)

    def max(self, a: Variable, axis: Any = None, keepdims: bool = False) -> Variable:
        """∂ of the largest one; of several that are equal, the same part of each"""
        result = a.value.max(axis=axis, keepdims=True)
        largest = a.value == result
        shown = result if keepdims else a.value.max(axis=axis)

        def back(g: Array) -> Array:
            # only now: of NaN none is the largest, and 0/0 would warn on the way to an error that says where it began
            share = largest / largest.sum(axis=axis, keepdims=True).astype(result.dtype)
            return self._spread(g, a.value, axis, keepdims) * share

        return _one(shown, a, back)

    def reshape(self, a: Variable, shape: Any) -> Variable:
        """The same numbers in another shape"""
        return _one(a.value.reshape(shape), a, lambda g: g.reshape(a.shape))

    def transpose(self, a: Variable, axes: Sequence[int] | None = None) -> Variable:
        """The same numbers, axes exchanged; None: in the reverse order"""
        axes = range(a.ndim)[::-1] if axes is None else axes
        back = np.argsort([axis % a.ndim for axis in axes])
        return _one(a.value.transpose(*axes), a, lambda g: g.transpose(*back))

    def broadcast_to(self, a: Variable, shape: tuple[int, ...]) -> Variable:
        """Repeated: the gradient is the sum over the repetitions"""
        return _one(self.xp.broadcast_to(value_of(a), shape), a, lambda g: unbroadcast(g, a.shape))

    def item(self, a: Variable, index: Any) -> Variable:
        """Some of the numbers: the others have the gradient 0, and one that is taken twice has the sum of both"""
        return _one(a.value[index], a, lambda g: put_back(g, index, a.shape))

    def take_along_axis(self, a: Variable, index: Array, axis: int) -> Variable:
        """Some numbers of each row, others in each"""
        places = list(self.xp.ogrid[tuple(slice(n) for n in a.shape)])
        places[axis] = index
        return self.item(a, tuple(places))

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Variable:
        """One after the other: each has its own part of the gradient"""
        values = [value_of(array) for array in arrays]
        ends = np.cumsum([value.shape[axis] for value in values])[:-1].tolist()
        return computed(self.xp.concatenate(values, axis=axis), arrays, lambda g: self.xp.split(g, ends, axis=axis))

    def stack(self, arrays: Sequence[Any], axis: int = 0) -> Variable:
        """Beside one another along a new axis"""
        values = [value_of(array) for array in arrays]
        return computed(
            self.xp.stack(values, axis=axis), arrays,
            lambda g: [g[(*(slice(None),) * (axis % g.ndim), i)] for i in range(len(values))],
        )  # fmt: skip

    def asarray(self, a: Any, dtype: Any = None) -> Variable:
        """In another dtype; gradients stay in float32 or wider"""
        value = a.value if dtype is None else a.value.astype(dtype, copy=False)
        kept = a.dtype if a.dtype.itemsize > HALF else np.dtype(np.float32)
        return _one(value, a, lambda g: g.astype(kept, copy=False))

    def _spread(self, g: Array, like: Array, axis: Any, keepdims: bool) -> Array:
        """The gradient of a sum over some axes, for each of the summands."""
        if axis is not None and not keepdims:
            g = self.xp.expand_dims(g, axis)
        return self.xp.broadcast_to(g, like.shape)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The sum over what was repeated to make an array of `shape` as large as `gradient`."""
    if gradient.shape == shape:
        return gradient
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=repeated, keepdims=True) if repeated else gradient


def _letters(subscripts: str) -> tuple[str, str, str]:
    """The letters of both arrays and of the result in "ij,jk->ik"; TypeError for what has no derivative here."""
    into, arrow, out = subscripts.replace(" ", "").partition("->")
    left, comma, right = into.partition(",")
    plain = arrow and comma and (left + right + out).isalpha() and all(len({*s}) == len(s) for s in (left, right, out))
    if not plain or {*left} - {*right, *out} or {*right} - {*left, *out}:
        raise TypeError(
            f"einsum({subscripts!r}) has no derivative here; expected two arrays, as in 'ij,jk->ik', and each letter "
            "of one in the other or in the result: sum over the rest before"
        )
    return left, right, out


def _one(value: Array, a: Any, back: Any) -> Variable:
    return computed(value, (a,), lambda g: (back(g),))


def _pair(value: Array, a: Any, b: Any, back_a: Any, back_b: Any) -> Variable:
    """Of two arguments that may have been repeated; each has a gradient only if it is a variable."""
    shapes = [getattr(x, "shape", ()) for x in (a, b)]

    def back(g: Array) -> list[Array | None]:
        found = ((one(g) if isinstance(x, Variable) else None) for one, x in ((back_a, a), (back_b, b)))
        return [None if part is None else unbroadcast(part, shape) for part, shape in zip(found, shapes, strict=True)]

    return computed(value, (a, b), back)


KNOWN = {name for name, rule in vars(Rules).items() if not name.startswith("_") and callable(rule)} - {"item"}
FUNCTIONS.update({name: Functions(name) for name in ("numpy", "cupy")})
