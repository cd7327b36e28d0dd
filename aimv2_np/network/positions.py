"""Where a patch is: sine-cosine positions for any grid, and learned positions stretched to another grid."""

from math import floor
from types import ModuleType

import numpy as np

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.shapes import Array, Float


def sincos_positions(xp: ModuleType, rows: int, columns: int, size: int) -> Float[Array, "N D"]:
    """Sine-cosine positions of a grid, in float64: the sine of a large angle loses half its digits in float32.

        position(r, c) = [sin(c·ω) | cos(c·ω) | sin(r·ω) | cos(r·ω)],    ω_j = 10000^(-j / (D/4)),  j = 0 … D/4 - 1

    The one-dimensional form is Vaswani et al. 2017 (arXiv:1706.03762), section 3.5. AIMv2's native checkpoints were
    trained with the width (column) first; row-major order of patches. D must be divisible by 4.
    See docs/equations.md, (4).
    """
    omega = 10000.0 ** (-xp.arange(size // 4) / (size // 4))  # (D/4,)
    angles = (xp.arange(n)[:, None] * omega for n in (rows, columns))
    r, c = (xp.concatenate([xp.sin(angle), xp.cos(angle)], axis=1) for angle in angles)  # (rows, D/2), (columns, D/2)
    shape = (rows, columns, size // 2)
    both = [xp.broadcast_to(c[None], shape), xp.broadcast_to(r[:, None], shape)]
    return xp.concatenate(both, axis=2).reshape(rows * columns, size)


@operation
def interpolate_positions(
    table: Float[Array, "N D"], grid: tuple[int, int], new_grid: tuple[int, int]
) -> Float[Array, "M D"]:
    """A learned table for `grid` (rows, columns) stretched to `new_grid` by bicubic interpolation, one axis at a time.

        new = K_rows · table · K_columnsᵀ        K: the matrices of `cubic_matrix`

    Equal to `torch.nn.functional.interpolate(mode="bicubic", align_corners=False, antialias=False)`.
    See docs/equations.md, (5).
    """
    if grid == new_grid:
        return table
    xp = namespace(table)
    wide = widen(table)
    k_rows, k_columns = (
        xp.asarray(cubic_matrix(old, new), dtype=wide.dtype) for old, new in zip(grid, new_grid, strict=True)
    )
    cube = wide.reshape(*grid, -1)  # (N, D) -> (r, c, D)
    stretched = xp.einsum("Cc,Rcd->RCd", k_columns, xp.einsum("Rr,rcd->Rcd", k_rows, cube))
    return stretched.reshape(-1, table.shape[1]).astype(table.dtype, copy=False)


def cubic_matrix(old: int, new: int) -> Float[Array, "new old"]:
    """The matrix that takes `old` samples to `new` ones by cubic convolution with a = -3/4, edges repeated.

    New sample i lies at (i + ½)·old/new - ½ among the old ones and is a sum of its four neighbours there, weighted by
    Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 15.
    """
    matrix = np.zeros((new, old))
    for i in range(new):
        x = (i + 0.5) * old / new - 0.5
        for j in range(floor(x) - 1, floor(x) + 3):
            matrix[i, min(max(j, 0), old - 1)] += _keys(abs(x - j))
    return matrix


def _keys(s: float, a: float = -0.75) -> float:
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * (s**3 - 5 * s**2 + 8 * s - 4) if s < 2 else 0.0
