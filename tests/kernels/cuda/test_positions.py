"""Learned positions stretched on the device, against the textbook in float64."""

import numpy as np
import pytest

from aimv2_np.network.positions import interpolate_positions
from tests.kernels.cuda.arrays import DTYPES, EPS32, assert_within, eps, exact, normal


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("grid", "new"), [((3, 3), (5, 4)), ((2, 5), (5, 2)), ((4, 4), (2, 2)), ((1, 3), (7, 3))])
def test_other_grids(cupy, dtype, grid, new):
    (table,) = normal(0, dtype, (grid[0] * grid[1], 24))
    found = interpolate_positions(cupy.asarray(table), grid, new)
    assert found.dtype == table.dtype
    expected = interpolate_positions.textbook(exact(table), grid, new)
    assert expected.shape == (new[0] * new[1], 24)
    # Two sums of at most four terms each, in float32, of numbers of size one; one rounding.
    assert_within(found, expected, 0.51 * eps(dtype) * np.abs(expected) + 100 * EPS32)


def test_the_same_grid_is_the_table_itself(cupy):
    table = cupy.zeros((6, 4), np.float32)
    assert interpolate_positions(table, (2, 3), (2, 3)) is table
