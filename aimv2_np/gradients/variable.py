"""Arrays that remember how they were made, so that the derivative of what becomes of them can be walked back.

    y = f(x₁, x₂, …)      ∂L/∂x_i = (∂y/∂x_i)ᵀ ∂L/∂y

A `Variable` holds an array, the variables it was computed from, and a function that takes ∂L/∂y and gives every
∂L/∂x_i (the vector-Jacobian product). Reverse-mode differentiation, Linnainmaa 1970; the network is called with
variables in the place of arrays, and its files do not know. Sums of half precision are taken in float32, and so are
gradients.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.narrow import Wrapped
from aimv2_np.backends.operation import take_over
from aimv2_np.shapes import Array

# ∂L/∂y → ∂L/∂x of each variable that y was computed from; None where it has none
Back = Callable[[Array], Sequence[Array | None]]

FUNCTIONS: dict[str, Any] = {}  # library's name → its functions for variables (functions.py)
NAMES = {"absolute": "abs", "amax": "max", "amin": "min"}  # NumPy's names of functions that we have under another
HALF = 2  # bytes of a number whose gradient is a float32
_numbers = count()


class Variable(Wrapped):
    """An array of NumPy or CuPy that takes part in a derivative.

    Args:
        value: the array, of floats.
        parents: the variables that it was computed from.
        back: takes the gradient by this one, of its shape, and gives that by each parent.
    """

    __slots__ = ("back", "number", "parents", "value")
    __hash__ = object.__hash__

    def __init__(self, value: Array, parents: Sequence["Variable"] = (), back: Back | None = None) -> None:
        self.value, self.parents, self.back, self.number = value, tuple(parents), back, next(_numbers)

    @property
    def library(self) -> Any:
        """What stands for the array's library: its functions, for variables."""
        return FUNCTIONS[namespace(self.value).__name__]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        return int(self.value.ndim)

    @property
    def size(self) -> int:
        return int(self.value.size)

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def device(self) -> Any:
        return self.value.device

    @property
    def T(self) -> "Variable":  # noqa: N802
        return self.transpose()

    def _made(self, function: str, *args: Any, **options: Any) -> "Variable":
        result: Variable = getattr(self.library.rules, function)(*args, **options)
        return result

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __iter__(self) -> Iterator["Variable"]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        return f"Variable({self.value!r})"

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **options: Any) -> Any:
        """What NumPy's own functions, and an array of NumPy plus a variable, give: the rule of that name, if any."""
        if method != "__call__" or options:
            how = ", ".join((method, *options))
            raise TypeError(
                f"numpy.{ufunc.__name__} is called with a Variable as {how}; expected a plain call: a = a + b"
            )
        return getattr(FUNCTIONS["numpy"], ufunc.__name__)(*args)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """What NumPy's functions of several arrays give, one of which is a variable: the rule of that name, if any."""
        name = function.__name__
        if getattr(np, name, None) is not function:  # np.linalg.norm
            raise TypeError(f"{function.__module__}.{name} has no derivative here; write it with NumPy's own functions")
        return getattr(FUNCTIONS["numpy"], name)(*args, **options)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "a Variable is no array: what is computed outside of it has no derivative; use its own methods and the "
            "functions of namespace(variable), or its value where no derivative is wanted"
        )

    def __getattr__(self, name: str) -> Any:
        """A method that arrays have and that is a function of NumPy as well: `a.var(axis=0)` is `xp.var(a, axis=0)`."""
        if hasattr(np.ndarray, name) and hasattr(np, name):
            return partial(getattr(self.library, name), self)
        raise AttributeError(
            f"a Variable has no {name!r}; use its methods and the functions of namespace(variable), which have a "
            "derivative, or its value where none is wanted"
        )

    def __getitem__(self, index: Any) -> "Variable":
        return self._made("item", self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a Variable is not changed in place; use where(condition, a, b), or concatenate parts of it")

    def __abs__(self) -> "Variable":
        return self._made("abs", self)

    def __neg__(self) -> "Variable":
        return self._made("multiply", self, -1)

    def __add__(self, other: Any) -> "Variable":
        return self._made("add", self, other)

    def __sub__(self, other: Any) -> "Variable":
        return self._made("subtract", self, other)

    def __rsub__(self, other: Any) -> "Variable":
        return self._made("subtract", other, self)

    def __mul__(self, other: Any) -> "Variable":
        return self._made("multiply", self, other)

    def __truediv__(self, other: Any) -> "Variable":
        return self._made("divide", self, other)

    def __rtruediv__(self, other: Any) -> "Variable":
        return self._made("divide", other, self)

    def __matmul__(self, other: Any) -> "Variable":
        return self._made("matmul", self, other)

    def __rmatmul__(self, other: Any) -> "Variable":
        return self._made("matmul", other, self)

    def __pow__(self, exponent: Any) -> "Variable":
        return self._made("power", self, exponent)

    def __rpow__(self, base: Any) -> "Variable":
        return self._made("power", base, self)

    def __floordiv__(self, other: Any) -> Any:
        return self.value // value_of(other)

    def __rfloordiv__(self, other: Any) -> Any:
        return other // self.value

    def __mod__(self, other: Any) -> Any:
        return self.library.remainder(self, other)

    def __rmod__(self, other: Any) -> Any:
        return self.library.remainder(other, self)

    __radd__, __rmul__ = __add__, __mul__

    def __eq__(self, other: object) -> Any:
        return self.value == value_of(other)

    def __ne__(self, other: object) -> Any:
        return self.value != value_of(other)

    def __lt__(self, other: Any) -> Any:
        return self.value < value_of(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= value_of(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > value_of(other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= value_of(other)

    def reshape(self, *shape: Any) -> "Variable":
        return self._made("reshape", self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: int) -> "Variable":
        return self._made("transpose", self, axes or tuple(range(self.ndim))[::-1])

    def swapaxes(self, first: int, second: int) -> "Variable":
        axes = list(range(self.ndim))
        axes[first], axes[second] = axes[second], axes[first]
        return self._made("transpose", self, tuple(axes))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Floats as a variable; whole numbers and booleans, which have no derivative, as an array."""
        return self.value.astype(dtype) if np.dtype(dtype).kind in "biu" else self._made("asarray", self, dtype)

    def flatten(self) -> "Variable":
        return self.reshape(-1)

    def item(self, *index: Any) -> Any:
        """A number of Python's."""
        return self.value.item(*index)

    def tolist(self) -> Any:
        """Numbers of Python's, in lists."""
        return self.value.tolist()

    def sum(self, axis: Any = None, keepdims: bool = False) -> "Variable":
        return self._made("sum", self, axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> "Variable":
        return self._made("mean", self, axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> "Variable":
        return self._made("max", self, axis, keepdims=keepdims)


def value_of(x: Any) -> Any:
    """The array of a variable; anything else as it is."""
    return x.value if isinstance(x, Variable) else x


def computed(value: Array, parents: Sequence[Any], back: Back) -> Variable:
    """A variable of `value`, computed from some arguments, of which those that are variables have a gradient.

    `back` gives one for each argument, variable or not. Of a subclass that one of them is of, it is of that, too.
    """
    places = [i for i, parent in enumerate(parents) if isinstance(parent, Variable)]
    kind = next((type(parents[i]) for i in places if type(parents[i]) is not Variable), Variable)

    def of_variables(gradient: Array) -> list[Array | None]:
        found = back(gradient)
        return [found[i] for i in places]

    return kind(value, [parents[i] for i in places], of_variables)


def walk_back(
    output: Variable,
    leaves: Sequence[Variable],
    gradient: Array | None = None,
    met: Callable[[Variable, Array], Array] = lambda _, gradient: gradient,
) -> list[Array]:
    """∂L/∂leaf, zeros for a leaf that takes no part, from ∂L/∂output; without it L is `output`, of shape ().

    See docs/equations.md, (21).

    Every variable is passed once, the last computed first, so that all that was made of it is known by then, and
    forgets how it was made. `met` is told of each with the gradient by it, and gives the one that is gone on with.
    """
    wanted = {leaf.number: leaf for leaf in leaves}
    gradients: dict[int, Array] = {output.number: wide(output.value) * 0 + 1 if gradient is None else gradient}
    ahead = {output.number: output}
    found: dict[int, Array] = {}
    while ahead:
        number = max(ahead)
        variable = ahead.pop(number)
        gradient = met(variable, gradients.pop(number))
        if number in wanted:
            found[number] = gradient
        if variable.back is None:
            continue
        parents, parts = variable.parents, variable.back(gradient)
        variable.parents, variable.back = (), None  # what they hold is needed no more
        for parent, part in zip(parents, parts, strict=True):
            if part is not None:
                ahead[parent.number] = parent
                known = gradients.get(parent.number)
                gradients[parent.number] = part if known is None else known + part
    return [found.get(leaf.number, wide(leaf.value) * 0) for leaf in leaves]


def wide(array: Array) -> Array:
    """The array in the dtype of its gradients: float32 for half precision."""
    return array.astype(np.float32) if array.dtype.itemsize == HALF else array


take_over(Variable)
