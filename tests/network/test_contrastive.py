import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aimv2_np.network.contrastive import contrastive_logits, contrastive_loss, l2_normalize

MATRICES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-100, 100))


@given(x=MATRICES)
def test_rows_get_length_one_and_keep_their_direction(x):
    x = np.where(np.abs(x) < 1e-6, 0, x)
    y = l2_normalize(x)
    for row, unit in zip(x, y, strict=True):
        length = math.sqrt(math.fsum(v * v for v in row))
        np.testing.assert_allclose(unit, row / length if length else row, atol=1e-15)


def test_a_row_of_zeros_stays_zero():
    np.testing.assert_array_equal(l2_normalize(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))


def test_float16_lengths_are_taken_in_float32():
    y = l2_normalize(np.array([[300.0, 400.0]], np.float16))
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, np.array([[0.6, 0.8]], np.float16))


@pytest.mark.parametrize(("scale", "factor"), [(1.5, math.exp(1.5)), (-3.0, 1.0), (9.0, 50.0)])
def test_logits_are_cosines_times_a_clipped_temperature(scale, factor):
    rng = np.random.default_rng(0)
    text, image = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    logits = contrastive_logits(text, image, np.array(scale), 50.0)
    expected = [[factor * sum(t * i) for i in image] for t in text]
    np.testing.assert_allclose(logits, expected, rtol=1e-13)


def cross_entropy(logits):
    total = 0.0
    for i, row in enumerate(logits):
        top = max(row)
        total += top + math.log(sum(math.exp(value - top) for value in row)) - row[i]
    return total / len(logits)


@given(size=st.integers(1, 5), spread=st.floats(0, 200), seed=st.integers(0, 99))
def test_loss_is_the_mean_of_two_cross_entropies(size, spread, seed):
    logits = spread * np.random.default_rng(seed).standard_normal((size, size))
    expected = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    loss = contrastive_loss(logits)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(contrastive_loss(logits.T), loss, rtol=1e-12, atol=1e-12)


def test_loss_of_uniform_logits_is_the_logarithm_of_their_number():
    np.testing.assert_allclose(contrastive_loss(np.full((8, 8), 3.0)), math.log(8), rtol=1e-14)


def test_loss_of_extreme_logits():
    np.testing.assert_array_equal(contrastive_loss(np.diag([1e6, 1e6]).astype(np.float32)), 0)
    assert contrastive_loss(np.array([[0, 1e6], [1e6, 0]], np.float32)) == 1e6
