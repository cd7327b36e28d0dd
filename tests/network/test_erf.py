import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.erf import erf


@given(x=st.floats(-1e6, 1e6))
def test_equals_the_c_library(x):
    assert abs(float(erf(np.array([x]))[0]) - math.erf(x)) <= 6e-16


def test_dense_grid():
    x = np.concatenate([np.linspace(-7, 7, 20001), np.geomspace(1e-12, 7, 3000)])
    reference = np.array([math.erf(value) for value in x])
    assert np.abs(erf(x) - reference).max() <= 6e-16
    x = x.astype(np.float32)
    assert np.abs(erf(x) - np.array([math.erf(value) for value in x])).max() <= 4e-7


@given(x=st.floats(-40, 40))
def test_is_odd_and_bounded(x):
    value = np.array([x])
    assert erf(value)[0] == -erf(-value)[0]
    assert abs(erf(value)[0]) <= 1


def test_limits():
    np.testing.assert_array_equal(erf(np.array([1e4, -1e4, np.inf, -np.inf])), [1, -1, 1, -1])
