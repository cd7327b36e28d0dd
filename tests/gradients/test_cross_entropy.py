import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.cross_entropy import cross_entropy
from tests.support.gradients import check, gradients


@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 6), st.integers(0, 99))
def test_it_is_the_slope(batch, classes, seed):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, batch)
    check(lambda logits: cross_entropy(logits, true), 3 * rng.standard_normal((*batch, classes)))


def test_what_pushes_the_logits_of_a_row_sums_to_nothing():
    """Moving all of them alike changes no probability."""
    rng = np.random.default_rng(0)
    (found,), _ = gradients(lambda logits: cross_entropy(logits, np.array([1, 0])), rng.standard_normal((2, 5)))
    np.testing.assert_allclose(found.sum(axis=-1), 0, atol=1e-15)
    assert found[0, 1] * found[0, 0] < 0
