"""RMSNorm on the device against its textbook in float64."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.kernels.cuda.rms_norm import add_rms_norm
from aimv2_np.network.rms_norm import rms_norm
from tests.kernels.cuda.arrays import DTYPES, LAYOUTS, assert_within, dtypes, eps, exact, normal

# The normalised number is rounded, and its product with the gain: half an ε each. Sums of up to 9000 float32 squares,
# 36 in a thread's chain, and the division add less than 32 ε of float32.
FLOAT32 = 32 * 2.0**-23


def limit(dtype, expected):
    return (1.01 * eps(dtype) + FLOAT32) * np.abs(expected) + 1e-7


@settings(max_examples=60)
@given(shape=st.lists(st.integers(0, 4), max_size=2), size=st.integers(1, 70), dtype=dtypes, layout=LAYOUTS,
       scale=st.sampled_from([1e-2, 1.0, 30.0]), eps_=st.sampled_from([1e-5, 0.1]), seed=st.integers(0, 9))  # fmt: skip
def test_any_shape_and_layout(cupy, shape, size, dtype, layout, scale, eps_, seed):
    x, weight = normal(seed, dtype, (*shape, size), size, scale=scale)
    device = layout(cupy, x)
    y = rms_norm(device, cupy.asarray(weight), eps_)
    assert y.dtype == x.dtype
    expected = rms_norm.textbook(exact(x), exact(weight), eps_)
    assert_within(y, expected, limit(dtype, expected))
    np.testing.assert_array_equal(device.get(), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1024, 1536, 2048, 3072, 8200, 9001])
def test_long_rows(cupy, dtype, size):
    """All widths of the released models, and rows that do not fit the registers of a block."""
    x, weight = normal(0, dtype, (3, size), size)
    expected = rms_norm.textbook(exact(x), exact(weight), 1e-5)
    assert_within(rms_norm(cupy.asarray(x), cupy.asarray(weight), 1e-5), expected, limit(dtype, expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [3e-3, 1e-30])
def test_small_numbers(cupy, dtype, scale):
    """Where ε decides; squares that are denormal, which CuPy's kernels flush to zero, are far below it."""
    x, weight = normal(0, dtype, (3, 64), 64, scale=scale)
    expected = rms_norm.textbook(exact(x), exact(weight), 1e-5)
    smallest = max(float(ml_dtypes.finfo(DTYPES[dtype]).smallest_subnormal), 2.0**-126)
    assert_within(rms_norm(cupy.asarray(x), cupy.asarray(weight), 1e-5), expected, limit(dtype, expected) + smallest)


@settings(max_examples=40)
@given(rows=st.integers(1, 5), size=st.integers(1, 600), dtype=dtypes, one_row=st.booleans(), seed=st.integers(0, 9))
def test_with_a_residual(cupy, rows, size, dtype, one_row, seed):
    """The sum is stored, rounded once, and what is stored is normalised."""
    x, residual, weight = normal(seed, dtype, (2, rows, size), size if one_row else (2, rows, size), size)
    device = cupy.asarray(x)
    y = add_rms_norm(device, cupy.asarray(residual), cupy.asarray(weight), 1e-5)
    total = (x.astype(np.float32) + residual.astype(np.float32)).astype(x.dtype)
    np.testing.assert_array_equal(device.get(), total)
    expected = rms_norm.textbook(exact(total), exact(weight), 1e-5)
    assert_within(y, expected, limit(dtype, expected))


def test_float64_is_the_textbook(cupy):
    x, weight = np.random.default_rng(0).standard_normal((2, 5, 7)), np.ones(7)
    y = rms_norm(cupy.asarray(x), cupy.asarray(weight), 1e-5)
    np.testing.assert_allclose(y.get(), rms_norm.textbook(x, weight, 1e-5), rtol=1e-14)
