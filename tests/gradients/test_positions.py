import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.positions import interpolate_positions
from tests.support.gradients import check

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(GRIDS, GRIDS)
def test_it_is_the_slope(grid, new):
    table = np.random.default_rng(0).standard_normal((grid[0] * grid[1], 3))
    check(lambda table: interpolate_positions(table, grid, new), table)
