"""What the network is called with when a graph is written: values in the place of arrays, sizes in that of numbers.

A `Symbol` knows its shape and dtype and adds an operator to its graph for all that is done to it. What is computed of
constants alone is computed at once.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from aimv2_np.backends.narrow import Wrapped
from aimv2_np.backends.operation import take_over
from aimv2_np.shapes import NDArray

Shape = tuple[Any, ...]  # of int and Size


class Size:
    """How many of something there will be: a number that is known only when the graph runs.

    Args:
        name: says what it is; two of the same name are the same number.
        make: adds what computes it, an int64 of shape (1,), to the graph.
    """

    def __init__(self, name: str, make: Callable[[], "Symbol"]) -> None:
        self.name, self._make = name, make

    @cached_property
    def symbol(self) -> "Symbol":
        """The number, (1,) int64."""
        return self._make()

    def __floordiv__(self, number: int) -> "Size":
        return Size(f"{self.name}//{number}", lambda: self.symbol // number)

    def __mul__(self, other: "int | Size") -> "Size":
        return self if other == 1 else Size(f"{self.name}*{other}", lambda: self.symbol * number_of(other))

    def __add__(self, other: "int | Size") -> "Size":
        return Size(f"{self.name}+{other}", lambda: self.symbol + number_of(other))

    __radd__ = __add__
    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


def number_of(size: int | Size) -> "int | Symbol":
    """A number as it is, of a size its symbol."""
    return size if isinstance(size, int) else size.symbol


class Symbol(Wrapped):
    """A value of a graph, in the place of an array.

    Attributes:
        graph: the `Graph` that what is done to it is written into.
        name: in the graph; that of a constant may be empty until it is part of it.
        shape, dtype: of the array that it stands for.
        named: whether it is called by a path of the model.
    """

    __slots__ = ("_load", "dtype", "graph", "name", "named", "shape")
    __hash__ = object.__hash__
    __array_ufunc__ = None  # NumPy's arrays leave what is done with a symbol to it

    def __init__(
        self, graph: Any, name: str, shape: Shape, dtype: Any, load: Callable[[], NDArray] | None = None
    ) -> None:
        self.graph, self.name, self.shape, self.dtype, self._load = graph, name, shape, np.dtype(dtype), load
        self.named = False

    @property
    def known(self) -> bool:
        """Whether it is a constant."""
        return self._load is not None

    @property
    def value(self) -> NDArray:
        """The array of a constant; a weight's is made anew each time, so that only one is in memory."""
        assert self._load is not None
        return self._load()

    @property
    def library(self) -> Any:
        """The functions that take symbols of its graph, in the place of NumPy's."""
        return self.graph.functions

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> "Symbol":  # noqa: N802
        return self.transpose(*range(self.ndim)[::-1])

    def __len__(self) -> int:
        if isinstance(self.shape[0], Size):
            raise TypeError(f"the length of {self!r} is known only when the graph runs; use its shape")
        return int(self.shape[0])

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self!r} has no numbers while its graph is written; use the functions of namespace(symbol)")

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no numbers while its graph is written; use where(condition, a, b)")

    def __repr__(self) -> str:
        return f"Symbol({self.name!r}, {self.dtype}, {self.shape})"

    def __getitem__(self, index: Any) -> "Symbol":
        return self._done("item", index)

    def __abs__(self) -> "Symbol":
        return self._done("abs")

    def __neg__(self) -> "Symbol":
        return self._done("negative")

    def __invert__(self) -> "Symbol":
        return self._done("logical_not")

    def __add__(self, other: Any) -> "Symbol":
        return self._done("add", other)

    def __sub__(self, other: Any) -> "Symbol":
        return self._done("subtract", other)

    def __rsub__(self, other: Any) -> "Symbol":
        return self._done("subtract", other, turned=True)

    def __mul__(self, other: Any) -> "Symbol":
        return self._done("multiply", other)

    def __truediv__(self, other: Any) -> "Symbol":
        return self._done("divide", other)

    def __rtruediv__(self, other: Any) -> "Symbol":
        return self._done("divide", other, turned=True)

    def __floordiv__(self, other: Any) -> "Symbol":
        return self._done("floor_divide", other)

    def __matmul__(self, other: Any) -> "Symbol":
        return self._done("matmul", other)

    def __rmatmul__(self, other: Any) -> "Symbol":
        return self._done("matmul", other, turned=True)

    def __pow__(self, other: Any) -> "Symbol":
        return self._done("power", other)

    def __rpow__(self, other: Any) -> "Symbol":
        return self._done("power", other, turned=True)

    def __and__(self, other: Any) -> "Symbol":
        return self._done("logical_and", other)

    def __or__(self, other: Any) -> "Symbol":
        return self._done("logical_or", other)

    def __eq__(self, other: Any) -> "Symbol":  # type: ignore[override]
        return self._done("equal", other)

    def __ne__(self, other: Any) -> "Symbol":  # type: ignore[override]
        return self._done("not_equal", other)

    def __lt__(self, other: Any) -> "Symbol":
        return self._done("less", other)

    def __le__(self, other: Any) -> "Symbol":
        return self._done("less_equal", other)

    def __gt__(self, other: Any) -> "Symbol":
        return self._done("greater", other)

    def __ge__(self, other: Any) -> "Symbol":
        return self._done("greater_equal", other)

    __radd__, __rmul__, __rand__, __ror__ = __add__, __mul__, __and__, __or__

    def _done(self, name: str, *others: Any, turned: bool = False) -> "Symbol":
        arguments = (*others, self) if turned else (self, *others)
        result: Symbol = getattr(self.library, name)(*arguments)
        return result

    def astype(self, dtype: Any, copy: bool = True) -> "Symbol":
        return self._done("asarray", dtype)

    def reshape(self, *shape: Any) -> "Symbol":
        return self._done("reshape", shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape)

    def transpose(self, *axes: int) -> "Symbol":
        return self._done("transpose", axes)

    def swapaxes(self, first: int, second: int) -> "Symbol":
        axes = list(range(self.ndim))
        axes[first], axes[second] = axes[second], axes[first]
        return self.transpose(*axes)

    def sum(self, axis: int, keepdims: bool = False) -> "Symbol":
        result: Symbol = self.library.reduced("sum", self, axis, keepdims)
        return result

    def max(self, axis: int, keepdims: bool = False) -> "Symbol":
        result: Symbol = self.library.reduced("max", self, axis, keepdims)
        return result

    def any(self, axis: int, keepdims: bool = False) -> "Symbol":
        return self.astype(np.int32).max(axis, keepdims) > 0

    def argmax(self, axis: int) -> "Symbol":
        return self._done("argmax", axis)


take_over(Symbol)
