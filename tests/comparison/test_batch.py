"""Items of a batch in another order."""

import numpy as np
import pytest

from aimv2_np.comparison.batch import item_order, reordered
from aimv2_np.recording import Recording

X = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (3, 2, 1, 0), (1, 2, 3, 0)])
def test_the_order_that_gives_ours(order):
    theirs = np.empty_like(X)
    theirs[list(order)] = X
    assert item_order(X, theirs) == order
    np.testing.assert_array_equal(theirs[list(order)], X)
    assert item_order(X, theirs.swapaxes(0, 1)) == order


@pytest.mark.parametrize(
    "theirs",
    [X, X[:1], X[[0, 0, 1, 2]], 2 * X[::-1], np.full_like(X, np.nan), X[::-1, :2], np.float32(3)],
    ids=["ours", "fewer", "one twice", "another size", "NaN", "another shape", "a number"],
)
def test_no_other_order(theirs):
    assert item_order(X, np.asarray(theirs)) is None


def test_the_order_of_the_inputs_is_certain():
    ours = Recording.from_arrays({"embeddings": X}, {"pixel_values": X})
    names = {"embeddings": "e"}
    found = reordered(ours, Recording.from_arrays({"e": X[::-1]}, {"pixel_values": X[::-1]}), names, [])
    assert found.certain
    np.testing.assert_array_equal(found.recording.activations["e"], X)
    np.testing.assert_array_equal(found.recording.inputs["pixel_values"], X)
    assert found.recording.statistics["e"].rms == pytest.approx(float(np.sqrt(np.mean(X**2))))
    found = reordered(ours, Recording.from_arrays({"e": X[::-1]}), names, ["embeddings"])
    assert not found.certain
    assert reordered(ours, Recording.from_arrays({"e": X[::-1]}, {"pixel_values": X}), names, ["embeddings"]) is None
