import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.tasks.calibration import calibration


def two(shares):
    return np.array([[share, 1 - share] for share in shares])


def test_sure_and_right_is_0_sure_and_wrong_is_1():
    sure = two([1.0, 1.0])
    assert calibration(sure, np.array([0, 0])).error == 0
    assert calibration(sure, np.array([1, 1])).error == 1


def test_by_hand():
    """Of four pictures at 0.85 three are right, and of one at 0.6 none: 4/5 · 0.1 + 1/5 · 0.6."""
    table = calibration(two([0.85] * 4 + [0.6]), np.array([0, 0, 0, 1, 1]), bins=10)
    assert table.error == pytest.approx(0.8 * 0.1 + 0.2 * 0.6)
    assert table.counts.tolist() == [0] * 5 + [1, 0, 0, 4, 0]
    assert table.right[8] == 0.75
    assert table.confidence[8] == pytest.approx(0.85)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 20), st.data())
def test_every_picture_is_in_the_bin_of_its_probability(shares, bins, data):
    actual = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(shares), max_size=len(shares))))
    table = calibration(two(shares), actual, bins)
    assert table.counts.sum() == len(shares)
    assert 0 <= table.error <= 1
    inside = table.counts > 0
    assert (table.confidence[inside] >= table.edges[:-1][inside] - 1e-12).all()
    assert (table.confidence[inside] <= table.edges[1:][inside] + 1e-12).all()
