from dataclasses import replace
from math import inf, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from aimv2_np.comparison.measure import measure_arrays, measure_statistics, rounding
from aimv2_np.recording.statistics import summarize

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


def test_the_numbers():
    a = np.array([[3.0, 4.0], [0.0, 5.0]])
    b = np.array([[3.0, 4.0], [1.0, 5.0]])
    found = measure_arrays(a, b, "float32")
    assert found.max_abs == 1
    assert found.where == (1, 0)
    assert found.relative == pytest.approx(1 / sqrt(50))
    assert found.worst_row == pytest.approx(1 / 5)
    assert found.cosine == pytest.approx(50 / sqrt(50 * 51))
    assert found.ulps == 2.0**22  # beside numbers of an rms of 3.5, whose ulp is 2^-22
    assert found.nonfinite == 0


@given(arrays(np.float64, array_shapes(min_dims=0, max_dims=4, min_side=0), elements=NUMBERS))
def test_an_array_equals_itself(a):
    found = measure_arrays(a, a, "float64")
    assert (found.max_abs, found.relative, found.worst_row, found.ulps, found.nonfinite) == (0, 0, 0, 0, 0)
    assert found.cosine == pytest.approx(1)


@given(arrays(np.float32, (3, 5), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)))
def test_rounding_to_half_precision_is_at_most_half_an_ulp(a):
    with np.errstate(over="ignore"):
        half = a.astype(np.float16)
    if np.isfinite(half).all():
        assert measure_arrays(a, half, "float16").ulps <= 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_on_one_side_is_an_infinite_error(value):
    a = np.ones((2, 3))
    b = a.copy()
    b[1, 2] = value
    for one, two in ((a, b), (b, a)):
        found = measure_arrays(one, two, "float32")
        assert found.relative == inf
        assert found.where == (1, 2)
        assert found.nonfinite == 1
    assert measure_arrays(b, b, "float32").relative == 0
    assert measure_arrays(b, b, "float32").nonfinite == 0


@pytest.mark.parametrize(("dtype", "bits"), [(np.float16, np.uint16(0x7C01)), (np.float32, np.uint32(0x7F800001))])
def test_a_nan_that_signals_is_a_nan(dtype, bits):
    """Converting it to another width is an invalid operation, about which NumPy would warn."""
    a = np.ones(3, dtype)
    b = a.copy()
    b.view(bits.dtype)[1] = bits
    assert measure_arrays(a, b, "float32").nonfinite == measure_arrays(b, a, "float32").nonfinite == 1
    assert measure_arrays(b, b, "float32").max_abs == 0


def test_infinities_of_other_signs_differ():
    assert measure_arrays(np.array([np.inf, 1]), np.array([-np.inf, 1]), "float32").nonfinite == 1


def test_a_row_that_is_wrong_shows_though_the_others_hide_it():
    a = np.ones((1000, 8))
    b = a.copy()
    b[500] *= 1.1
    found = measure_arrays(a, b, "float32")
    assert found.worst_row == pytest.approx(0.1)
    assert found.relative < 0.01


def test_huge_numbers_do_not_overflow():
    a = np.full((4, 4), 1e300)
    assert measure_arrays(a, 1.5 * a, "float64").relative == pytest.approx(0.5)
    assert measure_arrays(np.zeros(3), np.full(3, 1e-320), "float32").relative == inf


@given(st.integers(0, 2**32 - 1), st.floats(1e-7, 1.0))
def test_statistics_estimate_the_relative_error(seed, size):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((40, 50))
    b = a + size * rng.standard_normal(a.shape)
    exact, found = measure_arrays(a, b, "float64"), measure_statistics(summarize("x", a), summarize("x", b))
    # rms of 64 numbers that are normally distributed: five of their deviations (1/√128 each)
    assert found.relative == pytest.approx(exact.relative, rel=5 / sqrt(128))
    assert found.max_abs <= exact.max_abs * (1 + 1e-6) + 1e-7
    assert found.where is None
    assert found.ulps is None


def test_statistics_of_unlike_projections():
    a = np.random.default_rng(0).standard_normal((30, 30))
    same = measure_statistics(summarize("x", a), summarize("y", a), same_projection=False)
    assert same.relative == 0
    assert isnan(same.cosine)
    assert measure_statistics(summarize("x", a), summarize("y", 2 * a), same_projection=False).relative > 0.5


def test_statistics_of_what_is_not_finite():
    a = np.ones(20)
    b = np.where(np.arange(20) == 3, np.nan, a)
    assert measure_statistics(summarize("x", a), summarize("x", b)).relative == inf
    assert measure_statistics(summarize("x", b), summarize("x", b)).relative == 0


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_statistics_of_a_damaged_file_are_no_reason_to_warn(number):
    """Moments are finite, the projection is not: inf / inf was computed."""
    sound = summarize("a", np.arange(20, dtype=np.float32))
    damaged = replace(sound, projection=np.full(64, number, np.float32))
    assert measure_statistics(sound, damaged).relative == np.inf
    assert measure_statistics(damaged, sound).nonfinite == 1
    assert measure_statistics(damaged, damaged).relative == 0


ANY = st.floats(width=32) | st.sampled_from([0.0, 1.0, 1.00001])


@given(arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(0, 3)), elements=ANY), st.data())
def test_rounding_says_the_same_of_one_tolerance(a, data):
    b = data.draw(arrays(np.float32, a.shape, elements=ANY) | st.just(a) | st.just(a * np.float32(1.0001)))
    tolerance = data.draw(st.sampled_from([0.0, 1e-6, 3e-5, 1e-3, 0.4]))
    measures = measure_arrays(a, b, "float32")
    assert rounding(a, b, tolerance) == (measures.relative, measures.within(tolerance))
