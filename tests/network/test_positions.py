import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.network.positions import cubic_matrix, interpolate_positions, sincos_positions

GRIDS = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(grid=GRIDS, quarter=st.integers(1, 6))
def test_sincos_equals_the_formula(grid, quarter):
    """[sin(c·ω) | cos(c·ω) | sin(r·ω) | cos(r·ω)], ω_j = 10000^(-j / (D/4)): the column first."""
    table = sincos_positions(np, *grid, 4 * quarter)
    assert table.shape == (grid[0] * grid[1], 4 * quarter)
    assert table.dtype == np.float64
    for r in range(grid[0]):
        for c in range(grid[1]):
            omega = [10000 ** (-j / quarter) for j in range(quarter)]
            expected = [f(n * w) for n in (c, r) for f in (math.sin, math.cos) for w in omega]
            np.testing.assert_allclose(table[r * grid[1] + c], expected, atol=1e-14)


def test_sincos_width_comes_first():
    table = sincos_positions(np, 2, 3, 4)
    np.testing.assert_allclose(table[1], [math.sin(1), math.cos(1), 0, 1], atol=1e-15)  # row 0, column 1
    np.testing.assert_allclose(table[3], [0, 1, math.sin(1), math.cos(1)], atol=1e-15)  # row 1, column 0


def test_sincos_far_from_the_origin_keeps_its_digits():
    table = sincos_positions(np, 1, 5000, 4)
    assert abs(table[4999, 0] - math.sin(4999)) < 1e-12


def keys_kernel(t, a=-0.75):
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def sixteen_neighbours(table, grid, new_grid):
    """Bicubic interpolation at half-pixel centres, each new sample from its 4 × 4 neighbours, edges repeated."""
    image = table.reshape(*grid, -1)
    out = np.zeros((*new_grid, image.shape[2]))
    for i, j in np.ndindex(*new_grid):
        y = (i + 0.5) * grid[0] / new_grid[0] - 0.5
        x = (j + 0.5) * grid[1] / new_grid[1] - 0.5
        for dy in range(-1, 3):
            for dx in range(-1, 3):
                row, column = math.floor(y) + dy, math.floor(x) + dx
                value = image[np.clip(row, 0, grid[0] - 1), np.clip(column, 0, grid[1] - 1)]
                out[i, j] += keys_kernel(y - row) * keys_kernel(x - column) * value
    return out.reshape(-1, image.shape[2])


@settings(max_examples=50)
@given(grid=GRIDS, new_grid=GRIDS)
def test_interpolation_equals_sixteen_neighbours(grid, new_grid):
    table = np.random.default_rng(0).standard_normal((grid[0] * grid[1], 3))
    new = interpolate_positions(table, grid, new_grid)
    np.testing.assert_allclose(new, sixteen_neighbours(table, grid, new_grid), atol=1e-13)
    float32 = interpolate_positions(table.astype(np.float32), grid, new_grid)
    assert float32.dtype == np.float32
    np.testing.assert_allclose(float32, new, atol=3e-6)  # 16 terms of size one


def test_the_same_grid_is_the_same_table():
    table = np.random.default_rng(0).standard_normal((12, 5))
    np.testing.assert_array_equal(interpolate_positions(table, (3, 4), (3, 4)), table)


@given(old=st.integers(1, 20), new=st.integers(1, 20))
def test_weights_sum_to_one_and_are_symmetric(old, new):
    matrix = cubic_matrix(old, new)
    assert matrix.shape == (new, old)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-14)
    if old == new:
        np.testing.assert_allclose(matrix, np.eye(old), atol=1e-15)


@pytest.mark.parametrize("old", [8, 12, 20])
def test_a_ramp_stays_a_ramp_inside(old):
    """With a = -3/4 that holds half way between samples, where halving the grid puts every new one."""
    new = cubic_matrix(old, old // 2) @ np.arange(float(old))
    np.testing.assert_allclose(new[1:-1], 2 * np.arange(old // 2)[1:-1] + 0.5, atol=1e-13)


def test_axes_are_not_mixed_up():
    """A table that varies along rows only is stretched along rows only."""
    table = np.repeat(np.arange(3.0), 4)[:, None]  # a 3 × 4 grid
    new = interpolate_positions(table, (3, 4), (6, 2)).reshape(6, 2)
    np.testing.assert_allclose(new[:, 0], new[:, 1], atol=1e-14)
    assert (np.diff(new[:, 0]) > 0).all()


def test_float16_is_stretched_in_float32():
    table = np.full((4, 2), 60000, np.float16)  # sums of weights above one would overflow float16 on the way
    new = interpolate_positions(table, (2, 2), (3, 3))
    assert new.dtype == np.float16
    np.testing.assert_array_equal(new, np.full((9, 2), 60000, np.float16))
