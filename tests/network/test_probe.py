import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.linear import Linear
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.probe import AttentiveProbe, BatchNorm, batch_norm, gather


def probe(size, heads, classes, seed=0):
    rng = np.random.default_rng(seed)
    norm = BatchNorm(rng.standard_normal(size), rng.uniform(0.1, 3, size), 1e-6)
    k, v, linear = (Linear(rng.standard_normal((rows, size)), None) for rows in (size, size, classes))
    return AttentiveProbe(norm, k, v, rng.standard_normal((1, 1, size)), linear, heads)


def as_published(it, x):
    """Keys and values of every token, as Apple's code computes them: by the pooling head, which does so."""
    head = AttentionPoolingHead(it.k, it.v, it.cls_token, it.v, it.heads)  # whose output projection is not used
    normalised = (x - it.bn.running_mean) / np.sqrt(it.bn.running_var + it.bn.eps)
    return head.gather(normalised) @ it.linear.weight.T


@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 5), st.integers(1, 9), st.integers(0, 10**6))
def test_it_is_the_published_head(heads, width, classes, tokens, seed):
    it = probe(heads * width, heads, classes, seed)
    x = np.random.default_rng(seed).standard_normal((3, tokens, heads * width))
    expected = as_published(it, x)
    assert it(x).shape == (3, classes)
    np.testing.assert_allclose(it(x), expected, rtol=0, atol=1e-11 * max(1, abs(expected).max()))


def test_padding_counts_for_nothing():
    it = probe(8, 2, 3)
    x = np.random.default_rng(1).standard_normal((2, 5, 8))
    keys = np.arange(5) < np.array([[5], [3]])
    found = it(np.where(keys[..., None], x, 1e3), keys)
    np.testing.assert_allclose(found[0], it(x)[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], it(x[1:, :3])[0], rtol=1e-12)


def test_normalised_numbers_have_the_mean_0_and_the_variance_1():
    x = np.random.default_rng(0).normal(3, 5, (40, 7, 4))
    found = batch_norm(x, x.mean(axis=(0, 1)), x.var(axis=(0, 1)), 1e-6)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(found.var(axis=(0, 1)), 1, rtol=1e-6)


@pytest.mark.parametrize("length", [0.0, 50.0])
def test_a_direction_of_length_0_takes_the_mean_and_a_long_one_the_nearest(length):
    x = np.random.default_rng(2).standard_normal((1, 6, 4))
    direction = np.array([[1.0, 0, 0, 0]])
    expected = x[0].mean(axis=0) if not length else x[0, x[0, :, 0].argmax()]
    np.testing.assert_allclose(gather(x, length * direction)[0, 0], expected, atol=1e-2)
