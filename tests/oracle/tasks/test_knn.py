"""Nearest neighbours as scikit-learn has them, on the same features; skipped where it is not installed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.tasks import knn
from tests.tasks.test_knn import sets

neighbors = pytest.importorskip("sklearn.neighbors")
metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 40), classes=st.integers(2, 6))
def test_scikit_learn(weights, seed, k, classes):
    train, labels, test, actual = (
        it.astype(float) if isinstance(it, np.ndarray) else it for it in sets(seed, classes=classes)
    )
    theirs = neighbors.KNeighborsClassifier(k, weights=weights, metric="cosine", algorithm="brute").fit(train, labels)
    ours = knn(train, labels, test, actual, k=k, weights=weights)
    assert list(theirs.classes_) == list(ours.classes)
    np.testing.assert_allclose(ours.shares, theirs.predict_proba(test), atol=1e-9)
    # Where two classes have the same weight to rounding, the sums' order decides: compare where one wins.
    ordered = np.sort(ours.shares, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-9
    predicted = theirs.predict(test)
    assert [a for a, it in zip(ours.labels, clear, strict=True) if it] == list(predicted[clear])
    if clear.all():
        assert ours.accuracy == pytest.approx(theirs.score(test, actual))
        matrix = metrics.confusion_matrix(actual, predicted, labels=list(ours.classes))
        np.testing.assert_array_equal(ours.confusion, matrix)
