"""The linear probe: its gradient and Hessian by differences, its minimum, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.training.probes import linear
from aimv2_np.training.probes.linear import STRENGTHS, Problem, checked_vectors, minimize, train_linear_probe
from tests.support.probes import CLASSES, clusters


def problem(seed=0, count=40, size=5, classes=3):
    rng = np.random.default_rng(seed)
    return Problem(rng.normal(2, 3, (count, size)).astype(np.float32), rng.integers(0, classes, count), classes)


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 7), st.integers(1, 30))
def test_gradient_and_hessian_are_slopes(seed, classes, size, count):
    it = problem(seed, count, size, classes)
    rng = np.random.default_rng(seed)
    theta, v = (rng.standard_normal((classes, size + 1)) for _ in range(2))
    step = 1e-5
    above, below = (it.value_and_gradient(theta + sign * step * v) for sign in (1, -1))
    _, gradient = it.value_and_gradient(theta)
    assert (above[0] - below[0]) / (2 * step) == pytest.approx((gradient * v).sum(), rel=1e-6, abs=1e-8)
    expected = (above[1] - below[1]) / (2 * step)
    np.testing.assert_allclose(it.product(v), expected, rtol=0, atol=1e-7 * max(1, abs(v).max()))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(STRENGTHS), st.integers(2, 4))
def test_the_minimum_has_no_slope(seed, strength, classes):
    it = problem(seed, classes=classes)
    theta = minimize(it, strength, 1e-6)
    slope = it.value_and_gradient(theta)[1]
    slope[:, :-1] += strength * theta[:, :-1]
    assert np.linalg.norm(slope) <= 1e-6 * strength * np.linalg.norm(theta[:, :-1]) + 1e-14
    np.testing.assert_allclose(theta[:, :-1].sum(axis=0), 0, atol=1e-8 * max(1, abs(theta).max()))


def test_features_may_be_shifted_and_scaled():
    """They are standardised: the probabilities stay."""
    features, labels = clusters(60)
    scale, shift = np.array([1e3, 1, 1e-3, 1, 5, 1e-2]), np.array([0, 10, 0, -3, 100, 0])
    plain, other = (train_linear_probe(x, labels, strength=1e-2).network for x in (features, features * scale + shift))
    np.testing.assert_allclose(other(features * scale + shift), plain(features), atol=1e-3)


def test_a_number_that_never_changes_says_nothing():
    features, labels = clusters(60)
    features[:, 2] = 7.3
    fit = train_linear_probe(features, labels, strength=1e-3)
    np.testing.assert_allclose(fit.network.weight[:, 2], 0, atol=1e-6)


def test_it_tells_clusters_apart_and_the_strength_is_one_of_those_tried():
    features, labels = clusters(150, apart=4)
    told = []
    fit = train_linear_probe(features, labels, progress=lambda done, total: told.append((done, total)))
    test, actual = clusters(90, seed=5, apart=4)
    assert fit.classes == CLASSES
    assert np.mean([fit.classes[i] == name for i, name in zip(fit.network(test).argmax(1), actual, strict=True)]) > 0.97
    assert [it.settings["strength"] for it in fit.tried] == list(STRENGTHS)
    assert fit.strength == min(fit.tried, key=lambda it: it.loss).settings["strength"]
    assert told == [(i, 8) for i in range(9)]


def test_the_same_seed_gives_the_same_bits_and_blocks_and_cores_do_not_matter(monkeypatch):
    features, labels = clusters(101, 12)
    first, again = (train_linear_probe(features, labels, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.network.weight, again.network.weight)
    monkeypatch.setattr(linear, "BLOCK", 30)  # several blocks a slice, threads
    monkeypatch.setattr(linear, "KEPT", 0)  # converted anew each time
    blocks = [train_linear_probe(features, labels, seed=3, strength=first.strength) for _ in range(2)]
    np.testing.assert_array_equal(blocks[0].network.weight, blocks[1].network.weight)
    np.testing.assert_allclose(blocks[0].network.weight, first.network.weight, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(linear, "usable_cores", lambda: 1)
    one = train_linear_probe(features, labels, seed=3, strength=first.strength)
    np.testing.assert_array_equal(one.network.weight, blocks[0].network.weight)


def test_separable_classes_end_too():
    """Without a bound the weights would grow for ever; λ bounds them."""
    fit = train_linear_probe(np.array([[0.0], [0.1], [5.0], [5.1]]), ["a", "a", "b", "b"], strength=1e-6)
    assert np.isfinite(fit.network.weight).all()
    assert fit.network(np.array([[0.05], [5.05]], np.float32)).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("features", "labels", "options", "said"),
    [
        (np.ones((2, 2, 2)), ["a", "b"], {}, r"shape \(2, 2, 2\)"),
        (np.ones(3), ["a", "b", "c"], {}, "expected a vector for each"),
        (np.array([[1.0], [np.inf]]), ["a", "b"], {}, "picture 1 hold NaN"),
        (np.ones((2, 3)), ["a"], {}, "1 classes for 2 pictures"),
        (np.ones((2, 3)), ["a", "a"], {}, "1 class "),
        (np.eye(2), ["a", "b"], {}, "one picture of each class"),
        (np.eye(2), ["a", "b"], {"strength": 0.0}, "strength is 0"),
        (np.eye(2), ["a", "b"], {"strength": float("nan")}, "strength is nan"),
    ],
)
def test_what_cannot_be_trained_on(features, labels, options, said):
    with pytest.raises(ValueError, match=said):
        train_linear_probe(features, labels, **options)


def test_one_picture_of_each_class_is_enough_where_nothing_is_to_be_chosen():
    assert train_linear_probe(np.eye(2), ["a", "b"], strength=0.1).tried == ()


def test_bad_rows_are_found_behind_the_first_block():
    features = np.ones((9, 2**17), np.float32)
    features[7, 3] = np.nan
    with pytest.raises(ValueError, match="picture 7"):
        checked_vectors(features)
