"""The linear probe's coefficients are those of scikit-learn's logistic regression on the same features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.training.probes import train_linear_probe
from aimv2_np.training.probes.linear import Problem, minimize

linear_model = pytest.importorskip("sklearn.linear_model")


def standardised(vectors):
    return (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(3, 5), st.sampled_from([1.0, 1e-1, 1e-2, 1e-3, 1e-4]))
def test_coefficients(seed, classes, strength):
    """To 1e-4 of the largest one; theirs is stopped at a gradient of 1e-10."""
    rng = np.random.default_rng(seed)
    own = np.arange(60) % classes
    x = rng.standard_normal((60, 7)) + rng.standard_normal((classes, 7))[own]
    theta = minimize(Problem(x, own, classes), strength, 1e-6)
    theirs = linear_model.LogisticRegression(C=1 / (strength * 60), tol=1e-10, max_iter=10_000, solver="newton-cg")
    theirs.fit(standardised(x), own)
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(theta[:, :-1], theirs.coef_, rtol=0, atol=1e-4 * scale)
    bias = theta[:, -1] - theta[:, -1].mean()
    np.testing.assert_allclose(bias, theirs.intercept_ - theirs.intercept_.mean(), rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("strength", [1e-1, 1e-3])
def test_two_classes(strength):
    """Theirs has one vector for two classes, w = W₁ - W₀ with W₀ = -W₁: ‖W‖² is ‖w‖²/2, so their C is twice ours."""
    rng = np.random.default_rng(0)
    own = np.arange(50) % 2
    x = rng.standard_normal((50, 6)) + 0.5 * own[:, None]
    theirs = linear_model.LogisticRegression(C=2 / (strength * 50), tol=1e-10, max_iter=10_000, solver="newton-cg")
    theirs.fit(standardised(x), own)
    probe = train_linear_probe(x, [f"{number}" for number in own], strength=strength).network
    logits = probe(x.astype(np.float32))
    expected = theirs.decision_function(standardised(x))
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-4 * np.abs(expected).max())
