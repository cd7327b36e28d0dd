"""An ONNX graph while it is written: its operators in order, and the constants that they take.

What operators are called, take and give: the ONNX operator specification, opset 18.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aimv2_np.export.symbol import Shape, Size, Symbol

SMALL = 64  # numbers of a constant of which there is one for all that take it


@dataclass(frozen=True)
class Node:
    """One operator: its kind, the values that it takes and gives, its attributes, the path of the module it lies in."""

    kind: str
    inputs: tuple[Symbol, ...]
    output: Symbol
    attributes: dict[str, Any]
    path: str


class Graph:
    """Operators in order of execution.

    Args:
        functions: of the graph, what stands for NumPy where arrays are its symbols.
        path: gives the dotted path of the module that is running.
    """

    def __init__(self, functions: Callable[["Graph"], Any], path: Callable[[], str] = lambda: "") -> None:
        self.functions, self.path = functions(self), path
        self.nodes: list[Node] = []
        self._numbers: dict[str, int] = {}
        self._small: dict[tuple[Any, ...], Symbol] = {}
        self._computed: dict[tuple[Any, ...], Symbol] = {}

    def input(self, name: str, shape: Sequence[int | str], dtype: Any) -> Symbol:
        """A value that is given to the graph when it runs; sizes that are known only then have names."""
        value = Symbol(self, name, (), np.dtype(dtype))
        value.shape = self.sizes(value, shape)
        return value

    def sizes(self, value: Symbol, shape: Sequence[int | str]) -> Shape:
        """The shape of a value, of which some sizes are known by name until the graph runs."""

        def size(axis: int, name: str) -> Size:
            return Size(name, lambda: self.add("Shape", [value], (1,), np.int64, start=axis, end=axis + 1))

        return tuple(n if isinstance(n, int) else size(axis, n) for axis, n in enumerate(shape))

    def constant(self, array: Any) -> Symbol:
        """An array that is known when the graph is written; it becomes part of the graph when an operator takes it."""
        array = np.asarray(array)
        made = Symbol(self, "", array.shape, array.dtype, lambda: array)
        if array.size > SMALL:
            return made
        return self._small.setdefault((array.dtype, array.shape, array.tobytes()), made)

    def constants(self) -> list[Symbol]:
        """Those that operators take, each once, in order; the nameless get names."""
        found = {id(value): value for node in self.nodes for value in node.inputs if value.known}
        for value in found.values():
            value.name = value.name or self.unused("constant")
        return list(found.values())

    def add(self, kind: str, inputs: Sequence[Any], shape: Shape, dtype: Any, **attributes: Any) -> Symbol:
        """What an operator gives of symbols and arrays; its shape and dtype are known to the caller.

        What has been computed of the same values is not computed again: a mask in every layer.
        """
        taken = tuple(value if isinstance(value, Symbol) else self.constant(value) for value in inputs)
        key = (kind, *map(id, taken), repr(attributes))
        if key not in self._computed:
            path = self.path()
            output = Symbol(self, self.unused(f"{path}.{kind}" if path else kind), shape, np.dtype(dtype))
            self.nodes.append(Node(kind, taken, output, attributes, path))
            self._computed[key] = output
        return self._computed[key]

    def call(self, value: Symbol, name: str) -> Symbol:
        """The value under this name. It keeps its first one; every further one, and a constant's, is that of a copy."""
        if value.known or (value.named and value.name != name):
            copy = Symbol(self, name, value.shape, value.dtype)
            self.nodes.append(Node("Identity", (value,), copy, {}, self.path()))
            value = copy
        value.name, value.named = name, True
        return value

    def unused(self, name: str) -> str:
        """The name, or with a number behind it where it is taken."""
        number = self._numbers[name] = self._numbers.get(name, -1) + 1
        return f"{name}_{number}" if number else name
