"""The derivative of looking up rows of a table, and of taking any other part of an array.

    y_n = U_i(n)        ∂L/∂U_v = Σ_{n: i(n) = v} ∂L/∂y_n

A row that was taken several times has the sum of what comes back; one that was not taken has zero. Rows of one number
are brought together by sorting the numbers, and summed up in one pass.
"""

from typing import Any

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.operation import operation
from aimv2_np.shapes import Array, Float, Int


def put_back(g: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """The gradient by an array of `shape` of which `[index]` was taken, from that by what was taken.

    See docs/equations.md, (28).
    """
    xp = namespace(g)
    if hasattr(index, "dtype") and index.dtype.kind in "iu" and g.size:
        return add_rows(g.reshape(-1, *shape[1:]), index.reshape(-1) % shape[0], shape[0])  # -1 is the last one
    whole = xp.zeros(shape, g.dtype)
    if all(part is None or part is Ellipsis or isinstance(part, slice | int) for part in _parts(index)):
        whole[index] = g
    else:
        xp.add.at(whole, index, g)
    return whole


@operation
def add_rows(g: Float[Array, "*shape"], numbers: Int[Array, "*count"], rows: int) -> Float[Array, "*table"]:
    """(rows, …) from (N, …) and (N,): the sum of the rows of `g` for each number, zeros where there is none."""
    xp = namespace(g)
    whole = xp.zeros((rows, *g.shape[1:]), g.dtype)
    if xp.__name__ == "numpy":
        order = numbers.argsort(kind="stable")
        found, first = xp.unique(numbers[order], return_index=True)
        whole[found] = xp.add.reduceat(g[order], first)
    else:
        xp.add.at(whole, numbers, g)
    return whole


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)
