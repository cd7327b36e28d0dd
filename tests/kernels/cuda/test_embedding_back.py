"""The derivative of looking up rows on the device: every row of the table gets what came back for it."""

import numpy as np
import pytest

from aimv2_np.gradients.embedding import add_rows, put_back
from tests.kernels.cuda.arrays import assert_within


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("count", "size", "rows"), [(1, 1, 1), (9, 5, 4), (70, 300, 3), (4, 8, 50)])
def test_against_a_sum_over_rows(cupy, dtype, count, size, rows):
    rng = np.random.default_rng(count)
    numbers, g = rng.integers(0, rows, count), rng.standard_normal((count, size)).astype(dtype)
    expected = np.zeros((rows, size))
    np.add.at(expected, numbers, g)
    found = [add_rows(cupy.asarray(g), cupy.asarray(numbers), rows) for _ in range(2)]
    assert found[0].dtype == dtype
    assert_within(found[0], expected, count * np.finfo(dtype).eps * max(1, abs(expected).max()))
    np.testing.assert_array_equal(found[0].get(), found[1].get())


def test_numbers_in_rows_and_from_the_end(cupy):
    ids, g = np.array([[0, -1], [2, 0]]), np.ones((2, 2, 3), np.float32)
    found = put_back(cupy.asarray(g), cupy.asarray(ids.astype(np.int32)), (3, 3))
    np.testing.assert_array_equal(found.get(), np.array([[2], [0], [2]]) * np.ones((1, 3)))
