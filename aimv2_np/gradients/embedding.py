"""The derivative of looking up rows of a table, and of taking any other part of an array.

    y_n = U_i(n)        ∂L/∂U_v = Σ_{n: i(n) = v} ∂L/∂y_n

A row that was taken several times has the sum of what comes back; one that was not taken has zero. Rows of one number
are brought together by sorting the numbers, and summed up in one pass.
"""

from typing import Any

from aimv2_np.backends.arrays import namespace
from aimv2_np.shapes import Array


def put_back(g: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """The gradient by an array of `shape` of which `[index]` was taken, from that by what was taken.

    See docs/equations.md, (28).
    """
    xp = namespace(g)
    whole = xp.zeros(shape, g.dtype)
    if hasattr(index, "dtype") and index.dtype.kind in "iu" and g.size and xp.__name__ == "numpy":
        numbers = index.reshape(-1) % shape[0]  # -1 is the last one
        order = numbers.argsort(kind="stable")
        found, first = xp.unique(numbers[order], return_index=True)
        whole[found] = xp.add.reduceat(g.reshape(-1, *shape[1:])[order], first)
    elif all(part is None or part is Ellipsis or isinstance(part, slice | int) for part in _parts(index)):
        whole[index] = g
    else:
        xp.add.at(whole, index, g)
    return whole


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)
