"""The linear map on the device against its textbook in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.network.linear import linear
from tests.kernels.cuda.arrays import DTYPES, EPS32, LAYOUTS, assert_within, dtypes, eps, exact, normal

small = st.integers(0, 5)


def limit(dtype, x, weight, expected):
    """Sums in float32, of at most 64 terms in some order; one rounding to the type."""
    terms = np.abs(exact(x)).reshape(-1, x.shape[-1]) @ np.abs(exact(weight)).T
    return 0.51 * eps(dtype) * np.abs(expected) + 64 * EPS32 * (terms.reshape(expected.shape) + 1)


@settings(max_examples=80)
@given(batch=st.lists(small, max_size=3), sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)), dtype=dtypes,
       bias=st.booleans(), layouts=st.tuples(LAYOUTS, LAYOUTS), seed=st.integers(0, 9))  # fmt: skip
def test_linear(cupy, batch, sizes, dtype, bias, layouts, seed):
    x, weight, b = normal(seed, dtype, (*batch, sizes[0]), sizes[::-1], sizes[1])
    device = layouts[0](cupy, x), layouts[1](cupy, weight), *([cupy.asarray(b)] if bias else [])
    y = linear(*device)
    assert y.dtype == x.dtype
    expected = linear.textbook(exact(x), exact(weight), *([exact(b)] if bias else []))
    assert_within(y, expected, limit(dtype, x, weight, expected))
    np.testing.assert_array_equal(device[0].get(), x)


def test_float64_stays_float64(cupy):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 40)), rng.standard_normal((5, 40))
    y = linear(cupy.asarray(x), cupy.asarray(weight))
    np.testing.assert_allclose(y.get(), x @ weight.T, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mixed_types_are_the_textbook(cupy, dtype):
    x, weight = normal(0, dtype, (3, 4), (5, 4))
    y = linear(cupy.asarray(x), cupy.asarray(weight.astype(np.float64)))
    expected = exact(x) @ exact(weight).T
    assert_within(y, expected, eps(dtype) * np.abs(expected) + 1e-6)
