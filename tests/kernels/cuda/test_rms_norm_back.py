"""The derivative of RMSNorm on the device against the general one in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.gradients.rms_norm import backward
from aimv2_np.kernels.cuda import rms_norm_back
from tests.kernels.cuda.arrays import DTYPES, LAYOUTS, assert_within, contiguous, dtypes, exact, normal


def check(cupy, dtype, shape, layout=contiguous, seed=0):
    """The numbers that go in are of `dtype`, all that is computed is float32: sums of D products, then of the rows."""
    x, gain = normal(seed, dtype, shape, shape[-1:])
    g = normal(seed + 1, "float32", shape)[0]
    found = backward(layout(cupy, x), cupy.asarray(gain), layout(cupy, g), 1e-5)
    for array, expected in zip(found, backward.textbook(exact(x), exact(gain), exact(g), 1e-5), strict=True):
        assert array.dtype == np.float32
        assert_within(array, expected, 1e-5 * max(1.0, np.abs(expected).max(initial=0)))
    return found


@settings(max_examples=40)
@given(shape=st.lists(st.integers(0, 4), max_size=2), size=st.integers(1, 70), dtype=dtypes, layout=LAYOUTS,
       seed=st.integers(0, 9))  # fmt: skip
def test_any_shape_and_layout(cupy, shape, size, dtype, layout, seed):
    check(cupy, dtype, (*shape, size), layout, seed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows(cupy, dtype):
    check(cupy, dtype, (5, 1030))


def test_more_rows_than_blocks(cupy):
    one, other = (check(cupy, "float32", (rms_norm_back.BLOCKS + 3, 8)) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.get(), b.get())
