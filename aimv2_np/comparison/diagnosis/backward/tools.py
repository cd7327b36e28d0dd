"""Derivatives that are wrong, made of the right ones: what is computed stays, what comes back does not."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.operation import take_over
from aimv2_np.comparison.diagnosis.fault import Plant, computing, with_fields, with_forward
from aimv2_np.gradients.functions import Functions, Rules
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

Change = Callable[[Array], Array]


def passing(x: Any, change: Change) -> Any:
    """`x`, whose gradient is `change(gradient)` on the way back."""
    return computed(value_of(x), (x,), lambda g: (change(g),)) if isinstance(x, Variable) else x


def times(factor: float) -> Change:
    """The gradient times a number."""
    return lambda g: g * g.dtype.type(factor)


def held(x: Any) -> Any:
    """`x`, which has no gradient."""
    return passing(x, times(0))


def derived_from(value: Any, *ways: Variable) -> Variable:
    """A variable of the right value, whose derivative is the sum of those of other expressions of the same shape."""
    return computed(value_of(value), ways, lambda g: [g] * len(ways))


def mixed(value: Any, ways: Sequence[tuple[float, Variable]]) -> Variable:
    """The same of (factor, expression), whose derivatives are multiplied with the factors."""
    return derived_from(value, *(passing(way, times(factor)) for factor, way in ways))


def bent(y: Variable, parent: Variable, change: Callable[[Array, Callable[[Array], Array]], Array]) -> Variable:
    """`y`, whose derivative by one of the variables that it is computed from is another one.

    `change` takes ∂L/∂y and the right derivative, a function of such, and gives ∂L/∂parent.
    """
    back, parents = y.back, y.parents
    if back is None or not any(each is parent for each in parents):
        return y
    i = next(i for i, each in enumerate(parents) if each is parent)

    def right(g: Array) -> Array:
        found = back(g)[i]
        return np.zeros(parent.shape, g.dtype) if found is None else found

    def bent_back(g: Array) -> list[Array | None]:
        found = list(back(g))
        found[i] = change(g, right)
        return found

    return Variable(y.value, parents, bent_back)


class _ConstantSums(Rules):
    """Sums, means and largest numbers without a derivative."""

    def sum(self, a: Variable, axis: Any = None, keepdims: bool = False) -> Any:
        return a.value.sum(axis=axis, keepdims=keepdims)

    def mean(self, a: Variable, axis: Any = None, keepdims: bool = False) -> Any:
        return a.value.mean(axis=axis, keepdims=keepdims)

    def max(self, a: Variable, axis: Any = None, keepdims: bool = False) -> Any:
        return a.value.max(axis=axis, keepdims=keepdims)


class _FunctionsOfConstantSums(Functions):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.rules = _ConstantSums(name)


class ConstantSums(Variable):
    """A variable of whose numbers, and of what is made of them, sums have no derivative; operations run as written."""

    __slots__ = ()

    @property
    def library(self) -> Any:
        return _LIBRARIES[namespace(self.value).__name__]

    @classmethod
    def of(cls, x: Any) -> Any:
        return cls(x.value, (x,), lambda g: (g,)) if isinstance(x, Variable) else x


_LIBRARIES = {name: _FunctionsOfConstantSums(name) for name in ("numpy", "cupy")}
take_over(ConstantSums)


def plain(y: Any) -> Variable:
    """A variable again, of what was computed from some with constant sums."""
    return Variable(value_of(y), (y,), lambda g: (g,))


def forward_of(m: Any, *args: Any) -> Any:
    """What a module computes that has no fault."""
    return type(m).forward(m, *args)


def with_input(change: Callable[[Any], Any]) -> Plant:
    """Gives every module of the kind `change(its input)` for its input."""
    return computing(lambda m, x, *args: forward_of(m, change(x), *args))


def with_weight(name: str, change: Change) -> Plant:
    """Gives every module of the kind that has an array `name` a change of its gradient."""

    def plant(module: Any, *_: Any) -> Module | None:
        weight = vars(module).get(name)
        if not isinstance(weight, Variable):
            return None

        def forward(m: Any, *args: Any) -> Any:
            return type(m).forward(with_fields(m, **{name: passing(weight, change)}), *args)

        return with_forward(module, forward)

    return plant
