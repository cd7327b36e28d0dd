"""The derivative of positions that are stretched to another grid.

    new = K_rows · table · K_columnsᵀ        ∂L/∂table = K_rowsᵀ · ∂L/∂new · K_columns

The map is linear, so its derivative is its transpose.
"""

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.gradients.variable import Variable, computed
from aimv2_np.network.positions import cubic_matrix, interpolate_positions
from aimv2_np.shapes import Array


@interpolate_positions.register(Variable)
def interpolate_positions_with_derivative(
    table: Variable, grid: tuple[int, int], new_grid: tuple[int, int]
) -> Variable:
    """`interpolate_positions` of a variable. See docs/equations.md, (29)."""
    value = table.value

    def back(g: Array) -> list[Array]:
        if grid == new_grid:
            return [g]
        xp, wide = namespace(value), widen(value)
        rows, columns = (
            xp.asarray(cubic_matrix(old, new), dtype=wide.dtype) for old, new in zip(grid, new_grid, strict=True)
        )
        cube = g.reshape(*new_grid, -1)
        return [xp.einsum("Rr,RCd,Cc->rcd", rows, cube, columns).reshape(value.shape)]

    return computed(interpolate_positions(value, grid, new_grid), (table,), back)
