"""What stands for NumPy's functions where arrays are symbols: each adds its operator to the graph.

Where all that goes in is known, NumPy computes it at once.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from aimv2_np.export.graph import Graph
from aimv2_np.export.symbol import Shape, Size, Symbol

# NumPy's name of a function, element by element → ONNX's operator
ARITHMETIC = {
    "abs": "Abs", "add": "Add", "cos": "Cos", "divide": "Div", "exp": "Exp", "floor_divide": "Div", "log": "Log",
    "maximum": "Max", "minimum": "Min", "multiply": "Mul", "negative": "Neg", "power": "Pow", "sin": "Sin",
    "sqrt": "Sqrt", "subtract": "Sub", "tanh": "Tanh",
}  # fmt: skip
COMPARISONS = {
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual",
}  # fmt: skip
LOGIC = {"logical_and": "And", "logical_not": "Not", "logical_or": "Or"}
REDUCTIONS = {"max": "ReduceMax", "mean": "ReduceMean", "sum": "ReduceSum"}


class Functions(ModuleType):
    """The functions of one graph."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("onnx")
        self.graph = graph

    def __getattr__(self, name: str) -> Any:
        if name in ARITHMETIC or name in COMPARISONS or name in LOGIC:
            return lambda *arguments: self._element(name, arguments)
        plain = getattr(np, name)
        if isinstance(plain, type) or not callable(plain) or name in ("finfo", "iinfo"):
            return plain

        def constants_only(*arguments: Any, **options: Any) -> Symbol:
            known = _known(arguments)
            if known is None:
                raise TypeError(f"{name} has no operator in a graph here")
            return self.graph.constant(plain(*known, **options))

        return constants_only

    def _element(self, name: str, arguments: Sequence[Any]) -> Symbol:
        """Element by element, in the dtype that NumPy would compute in."""
        known = _known(arguments)
        if known is not None:
            return self.graph.constant(getattr(np, name)(*known))
        values = self._promoted(arguments)
        kind = ARITHMETIC.get(name) or COMPARISONS.get(name) or LOGIC[name]
        dtype = values[0].dtype if name in ARITHMETIC else np.dtype(bool)
        return self.graph.add(kind, values, broadcast(*(value.shape for value in values)), dtype)

    def _promoted(self, arguments: Sequence[Any]) -> list[Symbol]:
        """Symbols of one dtype; plain numbers take that of the arrays."""
        arrays = [value if isinstance(value, Symbol) else np.asarray(value) for value in arguments]
        known = [a.dtype for a, value in zip(arrays, arguments, strict=True) if type(value) not in (int, float, bool)]
        dtype = np.result_type(*(known or arguments))
        if dtype.kind in "biu" and any(type(value) is float for value in arguments):
            dtype = np.dtype(np.float64)
        return [self.asarray(value, dtype) for value in arrays]

    def not_equal(self, a: Any, b: Any) -> Symbol:
        return self.logical_not(self.equal(a, b))  # type: ignore[no-any-return]

    def asarray(self, a: Any, dtype: Any = None) -> Symbol:
        dtype = np.dtype(dtype) if dtype is not None else a.dtype
        if not isinstance(a, Symbol):
            return self.graph.constant(np.asarray(a, dtype))
        if a.dtype == dtype:
            return a
        if a.known:
            return self.graph.constant(a.value.astype(dtype))
        return self.graph.add("Cast", [a], a.shape, dtype, to=dtype)

    def where(self, condition: Any, a: Any, b: Any) -> Symbol:
        known = _known((condition, a, b))
        if known is not None:
            return self.graph.constant(np.where(*known))
        values = self._promoted((a, b))
        chosen = condition if isinstance(condition, Symbol) else self.graph.constant(condition)
        if values[0].dtype == bool:  # which ONNX Runtime has no Where for
            return (chosen & values[0]) | (~chosen & values[1])
        shape = broadcast(chosen.shape, *(value.shape for value in values))
        return self.graph.add("Where", [chosen, *values], shape, values[0].dtype)

    def clip(self, a: Symbol, low: float, high: float) -> Symbol:
        if a.known:
            return self.graph.constant(a.value.clip(low, high))
        return self.graph.add("Clip", [a, *(np.asarray(x, a.dtype) for x in (low, high))], a.shape, a.dtype)

    def matmul(self, a: Any, b: Any) -> Symbol:
        a, b = self._promoted((a, b))
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        return self.graph.add("MatMul", [a, b], shape, a.dtype)

    def reduced(self, name: str, a: Symbol, axis: int, keepdims: bool = False) -> Symbol:
        """The sum, mean or largest over one axis."""
        if a.known:
            return self.graph.constant(getattr(np, name)(a.value, axis=axis, keepdims=keepdims))
        shape = [*a.shape]
        shape[axis : axis % a.ndim + 1] = [1] if keepdims else []
        return self.graph.add(REDUCTIONS[name], [a, np.array([axis])], tuple(shape), a.dtype, keepdims=int(keepdims))

    def mean(self, a: Symbol, axis: int, keepdims: bool = False) -> Symbol:
        return self.reduced("mean", a, axis, keepdims)

    def argmax(self, a: Symbol, axis: int) -> Symbol:
        shape = a.shape[:axis] + a.shape[axis + 1 :]
        numbers = a.astype(np.int32) if a.dtype == bool else a
        return self.graph.add("ArgMax", [numbers], shape, np.int64, axis=axis, keepdims=0)

    def arange(self, stop: Any) -> Any:
        if not isinstance(stop, Size):
            return np.arange(stop)
        limit = self.graph.add("Squeeze", [stop.symbol], (), np.int64)
        return self.graph.add("Range", [np.int64(0), limit, np.int64(1)], (stop,), np.int64)

    def reshape(self, a: Symbol, shape: Shape) -> Symbol:
        if a.known and not any(isinstance(n, Size) for n in shape):
            return self.graph.constant(a.value.reshape(shape))
        return self.graph.add("Reshape", [a, self._reshaping(a.shape, shape)], _filled(a.shape, shape), a.dtype)

    def _reshaping(self, old: Shape, new: Shape) -> Any:
        """The argument of Reshape: 0 says "as it was here", -1 "what is left"."""
        sizes: list[Any] = [0 if i < len(old) and n == old[i] else n for i, n in enumerate(new)]
        unknown = [i for i, n in enumerate(sizes) if isinstance(n, Size)]
        if len(unknown) == 1 and -1 not in sizes:
            sizes[unknown.pop()] = -1
        return self._sizes(sizes) if unknown else np.array(sizes)

    def _sizes(self, sizes: Sequence[Any]) -> Symbol:
        """A shape as a value."""
        parts = [n.symbol if isinstance(n, Size) else self.graph.constant(np.array([n])) for n in sizes]
        return self.graph.add("Concat", parts, (len(parts),), np.int64, axis=0)

    def transpose(self, a: Symbol, axes: Sequence[int]) -> Symbol:
        shape = tuple(a.shape[axis] for axis in axes)
        if a.known:
            return Symbol(self.graph, a.name and f"{a.name}.T", shape, a.dtype, lambda: a.value.transpose(axes))
        return self.graph.add("Transpose", [a], shape, a.dtype, perm=[int(axis) for axis in axes])

    def broadcast_to(self, array: Any, shape: Shape) -> Symbol:
        a: Symbol = self.asarray(array)
        if a.shape == shape:
            return a
        sizes = self._sizes(shape) if any(isinstance(n, Size) for n in shape) else np.array(shape)
        return self.graph.add("Expand", [a, sizes], shape, a.dtype)

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Symbol:
        known = _known(arrays)
        if known is not None:
            return self.graph.constant(np.concatenate(known, axis))
        parts = self._promoted(arrays)
        shape = [*parts[0].shape]
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.graph.add("Concat", parts, tuple(shape), parts[0].dtype, axis=axis)

    def item(self, a: Symbol, index: Any) -> Symbol:
        """Parts of an array, new axes of length 1, or rows by their number."""
        parts = index if isinstance(index, tuple) else (index,)
        if all(isinstance(part, Symbol) for part in parts):
            return self._rows(a, parts)
        if a.known and not any(isinstance(_stop(part), Size) for part in parts):
            return self.graph.constant(a.value[index])
        taken, shape, new = a, [*a.shape], []
        for axis, part in enumerate(_spelled(parts, a.ndim)):
            if part is None:
                new.append(axis)
                continue
            here = axis - len(new)
            stop = _stop(part)
            if stop is not None:
                shape[here] = self._smaller(shape[here], stop)
                end = stop.symbol if isinstance(stop, Size) else np.array([stop])
                taken = self.graph.add("Slice", [taken, np.array([0]), end, np.array([here])], tuple(shape), a.dtype)
        for axis in new:
            shape.insert(axis, 1)
        return self.graph.add("Unsqueeze", [taken, np.array(new)], tuple(shape), a.dtype) if new else taken

    def _smaller(self, length: Any, stop: Any) -> Any:
        """How many there are up to `stop`, of `length`; a stop that is a size is taken to be within."""
        if isinstance(length, Size) and not isinstance(stop, Size):
            return Size(f"min({length},{stop})", lambda: self.minimum(length.symbol, stop))
        return stop if isinstance(stop, Size) else min(stop, length)

    def _rows(self, a: Symbol, numbers: Sequence[Symbol]) -> Symbol:
        if len(numbers) == 1:
            return self.graph.add("Gather", [a, *numbers], (*numbers[0].shape, *a.shape[1:]), a.dtype, axis=0)
        places = self.concatenate([number[:, None] for number in numbers], axis=1)
        return self.graph.add("GatherND", [a, places], (numbers[0].shape[0], *a.shape[len(numbers) :]), a.dtype)


def broadcast(*shapes: Shape) -> Shape:
    """The shape of what is made of arrays of these shapes, element by element."""
    result: list[int | Size] = []
    for i in range(1, max(map(len, shapes)) + 1):
        sizes = {shape[-i] for shape in shapes if len(shape) >= i} - {1}
        if len(sizes) > 1:
            raise ValueError(f"shapes are {', '.join(map(str, shapes))}; expected the same sizes, or 1")
        result.insert(0, sizes.pop() if sizes else 1)
    return tuple(result)


def _known(arguments: Sequence[Any]) -> list[Any] | None:
    """The arrays of constants, numbers as they are; None where one is known only when the graph runs."""
    if any(isinstance(a, Size) or (isinstance(a, Symbol) and not a.known) for a in arguments):
        return None
    return [a.value if isinstance(a, Symbol) else a for a in arguments]


def _filled(old: Shape, new: Shape) -> Shape:
    """The shape with -1 replaced by what it stands for."""
    if -1 not in new:
        return new
    rest = [n for n in new if n != -1]
    left: list[int | Size] = []
    for n in old:
        rest.remove(n) if n in rest else left.append(n)
    number: int | Size = 1
    for n in left:
        number = n * number
    if rest and isinstance(number, int):
        number //= int(np.prod(rest))
    return tuple(number if n == -1 else n for n in new)


def _spelled(parts: Sequence[Any], ndim: int) -> list[Any]:
    """An index with its ellipsis spelled out, of slices from the start, and None for new axes."""
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        missing = ndim - sum(part is not None for part in parts) + 1
        parts = [*parts[:place], *(slice(None),) * missing, *parts[place + 1 :]]
    for part in parts:
        if part is not None and not (isinstance(part, slice) and part.start in (None, 0) and part.step is None):
            raise TypeError(f"[{part}] of a symbol has no operator here; expected slices from the start, None, or rows")
    return list(parts)


def _stop(part: Any) -> Any:
    return part.stop if isinstance(part, slice) else None
