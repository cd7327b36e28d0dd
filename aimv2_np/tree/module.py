"""A model is a tree of arrays whose names are the checkpoint's names.

A `Module` is a plain dataclass whose fields are arrays, other modules, lists of modules, or settings. The path of field
names down to an array, `encoder.layers.3.ffn.gate_proj.weight`, is the array's key in a checkpoint.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from math import isfinite, prod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.arrays import (
    backend_of,
    beside,
    check_backend,
    computes_in,
    device_of,
    dtype_of,
    is_array,
    move,
    settle,
)
from aimv2_np.backends.dtypes import BITS, FLOATS, LARGEST
from aimv2_np.backends.narrow import for_bfloat16
from aimv2_np.backends.stacking import Stacker
from aimv2_np.errors import Advising
from aimv2_np.files.habits import dtype_name
from aimv2_np.shapes import Array
from aimv2_np.tree.recorder import RECORDERS, join, recorded


class Parameter(NamedTuple):
    """The place of an array in a tree that has no arrays yet: its shape, and its value in a new model.

    `fill` is the constant that every element starts from; with `std` > 0 elements are drawn from normal(fill, std²).
    """

    shape: tuple[int, ...]
    fill: float = 0.0
    std: float = 0.0

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)


@dataclass(repr=False, eq=False)
class Module(Advising):
    """Base of all layers and models: walking the tree, moving it, calling it."""

    # A field that adds nothing to the paths of what is below it: a model's `network`.
    transparent: ClassVar[str] = ""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute this module's output; never mutates the module."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, and record its output when somebody traces."""
        return recorded(self, self.forward, *args, **kwargs) if RECORDERS.get() else self.forward(*args, **kwargs)

    def _nodes(self) -> Iterator[tuple[str, Any]]:
        """(name, array or module) of this module's own fields, in order; of a list, `layers.0`, `layers.1`, …"""
        for f in fields(self):
            value, name = getattr(self, f.name), "" if f.name == self.transparent else f.name
            if isinstance(value, list):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value))
            elif isinstance(value, (Module, Parameter)) or is_array(value):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """(dotted path, module) of this module (path `prefix`) and all below it, in order of definition.

        A model is not in the list: its network has its path.
        """
        if not self.transparent:
            yield prefix, self
        for name, node in self._nodes():
            if isinstance(node, Module):
                yield from node.named_modules(join(prefix, name))

    def state_dict(self, prefix: str = "") -> dict[str, Array]:
        """Dotted path → array, for all arrays of the tree: the keys and values of its checkpoint. Nothing is copied."""
        return dict(self._arrays(prefix))

    def map(self, function: Callable[[str, Array], Array], prefix: str = "") -> Self:
        """A tree of the same modules and settings whose arrays are `function(path, array)`."""
        clone = copy.copy(self)
        for f in fields(self):
            value, path = getattr(self, f.name), join(prefix, f.name)
            if isinstance(value, Module):
                setattr(clone, f.name, value.map(function, path))
            elif isinstance(value, list):
                setattr(clone, f.name, [m.map(function, join(path, str(i))) for i, m in enumerate(value)])
            elif isinstance(value, Parameter) or is_array(value):
                setattr(clone, f.name, function(path, value))
        return clone

    def to(self, backend: str | None = None, dtype: str | None = None, device: int | None = None) -> Self:
        """This tree on another backend, `"numpy"` or `"cupy"`, on another GPU, or in another dtype.

        Returns a new tree; arrays that need no conversion are shared with this one.

        Args:
            backend: None: the one that it is on.
            dtype: `"float32"`, `"float64"`, `"float16"` or `"bfloat16"`; None: the one that it has.
            device: the number of a GPU; None: the one that it is on, or the current one.

        Raises:
            ValueError: unknown backend, a dtype it does not compute in, or float16 where a weight would overflow.
            ImportError, RuntimeError: CuPy is not installed; there is no GPU that it can use.
            MemoryError: the GPU has no room for it.
        """
        backend = backend or self.backend
        dtype = dtype_name(dtype or self.dtype)
        check_backend(backend, dtype, device)
        stack = Stacker({path: array.shape for path, array in self.state_dict().items()}) if backend == "cupy" else None

        def convert(path: str, array: Array) -> Array:
            moved = move(array, backend, device)
            moved = moved if computes_in(moved) == dtype else cast(path, moved, dtype)
            return moved if stack is None or moved is array else stack(path, moved)

        with self._on_the_way(backend, device, BITS[FLOATS[dtype]] // 8):
            moved = self.map(convert)
            settle(backend)
            return moved

    def _on_the_way(self, backend: str, device: int | None, itemsize: int) -> AbstractContextManager[Any]:
        """Where arrays are converted on their way to `backend`, where each number takes `itemsize` bytes."""
        if backend == "numpy":
            return beside(self.some_array())
        if self.backend == "numpy":
            devices.check_room(itemsize * self.num_parameters(), device)
        here = self.device if device is None else device
        return devices.on_device(devices.current() if here is None else here)

    def some_array(self) -> Array:
        """The first array of this tree, found without a walk through all of it."""
        return next(self._arrays())[1]

    def _arrays(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        for name, node in self._nodes():
            path = join(prefix, name)
            yield from node._arrays(path) if isinstance(node, Module) else ((path, node),)

    @property
    def backend(self) -> str:
        """The library that holds this tree's arrays: `"numpy"` or `"cupy"`."""
        return backend_of(self.some_array())

    @property
    def dtype(self) -> str:
        """The dtype of this tree's arrays: `"float32"`, `"float64"`, `"float16"` or `"bfloat16"`."""
        return computes_in(self.some_array())

    @property
    def device(self) -> int | None:
        """The number of the GPU that holds this tree's arrays; None in host memory."""
        return device_of(self.some_array())

    def num_parameters(self) -> int:
        """How many numbers the arrays of this tree hold."""
        return sum(prod(array.shape) for array in self.state_dict().values())

    def __repr__(self) -> str:
        return "\n".join(_lines("", self))


def cast(path: str, array: Array, dtype: str) -> Array:
    """The array at `path` in another dtype; ValueError when that cannot hold its largest number.

    Of NumPy in bfloat16 it is narrow, or of float32 (`for_bfloat16`).
    """
    size = float(abs(array).max()) if array.size else 0.0
    if isfinite(size) and size > LARGEST[dtype]:
        raise ValueError(f"{path} does not fit {dtype}: its largest value is {size:.3g}; keep {array.dtype}")
    with np.errstate(all="ignore"):  # small numbers may become denormal, or zero
        if dtype == "bfloat16" and backend_of(array) == "numpy":
            return for_bfloat16(array.astype(np.float32))
        return array.astype(dtype_of(dtype))


def _lines(label: str, module: Module) -> Iterator[str]:
    """One line per module: name, class, parameter count, arrays' shapes; equal layers of a list share one line."""
    kind, module = type(module).__name__, getattr(module, module.transparent) if module.transparent else module
    arrays = [f"{name} {tuple(node.shape)}" for name, node in module._nodes() if not isinstance(node, Module)]
    yield f"{label}{kind}  {module.num_parameters():,}" + (f"  {', '.join(arrays)}" if arrays else "")
    for f in fields(module):
        value = getattr(module, f.name)
        if isinstance(value, Module):
            yield from (f"  {line}" for line in _lines(f"{f.name}: ", value))
        elif isinstance(value, list) and value:
            yield from (f"  {line}" for line in _lines(f"{f.name}: {len(value)} × ", value[0]))
