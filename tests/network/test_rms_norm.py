import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aimv2_np import textbook
from aimv2_np.network.rms_norm import RMSNorm, rms_norm
from tests.support.models import assert_close

ELEMENTS = st.floats(-1000, 1000, width=32)
ROWS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=9), elements=ELEMENTS)


def by_hand(x, weight, eps):
    """Row by row in Python's floats; fsum rounds once."""
    size = x.shape[-1]
    out = np.empty(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        row = [float(value) for value in x[index]]
        root = math.sqrt(math.fsum(value * value for value in row) / size + eps)
        out[index] = [float(g) * value / root for g, value in zip(weight, row, strict=True)]
    return out


def gains(size):
    return np.linspace(0.5, -1.5, size)


@pytest.mark.parametrize("as_written", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(x=ROWS, eps=st.sampled_from([1e-5, 1e-6, 0.1]))
def test_equals_the_equation_by_hand(x, eps, dtype, as_written):
    x, weight = x.astype(dtype), gains(x.shape[-1]).astype(dtype)
    if as_written:
        with textbook():
            y = rms_norm(x, weight, eps)
    else:
        y = rms_norm(x, weight, eps)
    assert y.dtype == dtype
    # A sum of at most nine squares, a root, a quotient and a product: each rounds once. ε itself rounds to the dtype.
    assert_close(y, by_hand(x, weight, eps), ulps=8)


def test_known_values():
    y = rms_norm(np.array([[3.0, -4.0], [0.0, 0.0]]), np.array([1.0, 10.0]), 0.5)
    root = math.sqrt(12.5 + 0.5)
    np.testing.assert_allclose(y, [[3 / root, -40 / root], [0, 0]], rtol=1e-15)


@given(x=ROWS, power=st.integers(-10, 10))
def test_scale_does_not_matter_without_eps(x, power):
    x = np.where(np.abs(x) < 1e-3, np.float32(1), x)
    unit = np.ones(x.shape[-1], np.float32)
    # Scaling by a power of two is exact, so the results agree to the bit when eps is zero.
    np.testing.assert_array_equal(rms_norm(x, unit, 0.0), rms_norm(x * np.float32(2.0**power), unit, 0.0))


@given(x=ROWS)
def test_rows_have_unit_root_mean_square(x):
    x = np.where(np.abs(x) < 1, np.float32(1), x).astype(np.float64)
    y = rms_norm(x, np.ones(x.shape[-1]), 1e-12)
    np.testing.assert_allclose(np.sqrt(np.mean(y**2, axis=-1)), 1, rtol=1e-11)


def test_a_row_depends_on_itself_only():
    x = np.random.default_rng(0).standard_normal((4, 8))
    changed = x.copy()
    changed[2] = 1e6
    before, after = (rms_norm(value, gains(8), 1e-5) for value in (x, changed))
    np.testing.assert_array_equal(np.delete(before, 2, 0), np.delete(after, 2, 0))


def test_small_rows_shrink_towards_zero():
    """With eps inside the root, a row far below √eps is divided by √eps, not blown up to length one."""
    y = rms_norm(np.full((1, 4), 1e-9), np.ones(4), 1e-5)
    np.testing.assert_allclose(y, 1e-9 / math.sqrt(1e-5), rtol=1e-12)


def test_float16_is_averaged_in_float32():
    """300² overflows float16 (65504); the mean must not."""
    x = np.full((2, 16), 300, np.float16)
    x[0, ::2] = -300
    y = rms_norm(x, np.ones(16, np.float16), 1e-5)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, np.sign(x))


def test_module_uses_its_gain_and_eps():
    weight = np.array([2.0, 3.0])
    x = np.array([[1.0, 1.0]])
    np.testing.assert_allclose(RMSNorm(weight, 3.0)(x), [[1.0, 1.5]], rtol=1e-15)
    assert list(RMSNorm(weight, 3.0).state_dict()) == ["weight"]
