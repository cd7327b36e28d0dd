"""Products of the way back on the device: cuBLAS gets them as they lie, with a float32 result."""

import numpy as np
import pytest

from aimv2_np.gradients.half import product
from tests.kernels.cuda.arrays import DTYPES, EPS32, assert_within, exact, normal


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (5, 33, 7), (16, 64, 1)])
def test_against_the_textbook(cupy, dtype, rows, inner, columns):
    a, b = normal(0, dtype, (rows, inner), (columns, inner))
    expected = exact(a) @ exact(b).T
    limit = (inner + 1) * EPS32 * (np.abs(exact(a)) @ np.abs(exact(b)).T) + 1e-30
    for x, y in ((cupy.asarray(a), cupy.asarray(b)), (cupy.asarray(a.T.copy()).T, cupy.asarray(b.T.copy()).T)):
        found = product(x, y)
        assert found.dtype == np.float32
        assert_within(found, expected, limit)


def test_of_two_kinds_it_is_the_textbook(cupy):
    a, b = normal(0, "float32", (3, 8))[0], normal(1, "float16", (4, 8))[0]
    assert_within(product(cupy.asarray(a), cupy.asarray(b)), exact(a) @ exact(b).T, 1e-5)
