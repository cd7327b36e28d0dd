import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.rms_norm import rms_norm
from tests.support.gradients import check, gradients


@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 8), st.sampled_from([1e-6, 1e-2, 1.0]))
def test_it_is_the_slope(batch, size, eps):
    rng = np.random.default_rng(0)
    check(lambda x, gain: rms_norm(x, gain, eps), 1 + rng.standard_normal((*batch, size)), rng.standard_normal(size))


def test_scaling_the_input_changes_nothing():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 8))
    (by_x, _), _ = gradients(lambda x, gain: rms_norm(x, gain, 0.0), x, rng.standard_normal(8))
    np.testing.assert_allclose((by_x * x).sum(axis=-1), 0, atol=1e-12)
