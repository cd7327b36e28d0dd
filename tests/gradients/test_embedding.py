import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.gradients.embedding import put_back
from aimv2_np.network.embedding import Embedding
from tests.support.gradients import check


@given(st.lists(st.integers(-5, 4), min_size=1, max_size=8))
def test_it_is_the_slope(ids):
    check(lambda table: Embedding(table)(np.array(ids)), np.random.default_rng(0).standard_normal((5, 3)))


def test_a_row_has_the_sum_of_all_that_was_taken_of_it():
    found = put_back(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 2]), (4, 1))
    assert found.tolist() == [[2.0], [0.0], [5.0], [0.0]]


@pytest.mark.parametrize(
    "index", [1, np.s_[1:], np.s_[..., None], np.array([0, 0]), (np.array([0, 1]), np.array([2, 2]))]
)
def test_every_way_of_taking_is_undone(index):
    """<taken, g> = <whole, put back>: the derivative of a linear map is its transpose."""
    x = np.random.default_rng(0).standard_normal((2, 3))
    g = np.random.default_rng(1).standard_normal(x[index].shape)
    assert (x[index] * g).sum() == pytest.approx((x * put_back(g, index, x.shape)).sum(), rel=1e-12)


def test_nothing_taken():
    assert not put_back(np.zeros((0, 3)), np.zeros(0, int), (4, 3)).any()
