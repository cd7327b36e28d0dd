import numpy as np
import pytest

from aimv2_np.gradients.activations import DERIVATIVES
from aimv2_np.network.activations import ACTIVATIONS

KINKS = (-10.0, -3.0, 0.0, 3.0, 6.0, 10.0)
X = np.setdiff1d(np.linspace(-12, 12, 4001) + 1e-4, KINKS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_the_slope(name):
    step = 1e-5
    slope = (ACTIVATIONS[name](X + step) - ACTIVATIONS[name](X - step)) / (2 * step)
    np.testing.assert_allclose(DERIVATIVES[ACTIVATIONS[name]](X), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_finite_far_out_and_keeps_the_dtype(name):
    found = DERIVATIVES[ACTIVATIONS[name]](np.array([-1e4, -90.0, 0.0, 90.0, 1e4], np.float32))
    assert np.isfinite(found).all()
    assert found.dtype == np.float32
