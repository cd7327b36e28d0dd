"""What a comparison finds, as an object: which difference is the first, which is the worst, and where it lies."""

from math import inf

import numpy as np
import pytest

from aimv2_np.comparison import Comparison, Difference
from aimv2_np.comparison.measure import measure_arrays


def difference(path="x", ours=(1.0, 2.0), theirs=(1.0, 2.0), tolerance=1e-6, shape=None, **changes):
    a, b = (np.array(side, np.float32).reshape(shape or np.shape(side)) for side in (ours, theirs))
    measures = changes.pop("measures", measure_arrays(a, b, "float32"))
    relative = inf if measures is None else measures.relative
    return Difference(path, path, a.shape, "float32", 0, tolerance, measures, False, relative <= tolerance, **changes)


def test_equal_sides():
    found = Comparison((difference("a"), difference("b", theirs=(1.0, 2.0 + 1e-6))))
    assert found
    assert found.first is None
    assert found.to_dict()["equal"] is True
    assert [it.path for it in found.worst] == ["b", "a"]


def test_the_first_comes_in_order_and_the_worst_by_size():
    good, small, large = difference("good"), difference("small", theirs=(1.0, 2.1)), difference("large", theirs=(9, 9))
    found = Comparison((good, small, large))
    assert not found
    assert found.first is small
    assert found.worst == (large, small)


def test_another_shape_is_infinitely_wrong_and_still_json():
    found = difference(measures=None)
    assert (found.relative, found.excess) == (inf, inf)
    assert found.to_dict()["relative"] is None
    assert found.to_dict()["equal"] is False


@pytest.mark.parametrize(
    ("path", "shape", "axes"),
    [
        ("encoder.layers.0", (1, 2, 1), {"batch": 0, "token": 1, "channel": 0}),
        ("encoder.layers.0.attention.probs", (1, 1, 1, 2), {"batch": 0, "head": 0, "query": 0, "key": 1}),
        ("inputs/pixel_values", (1, 1, 1, 2), {"picture": 0, "channel": 0, "row": 0, "column": 1}),
        ("logits_per_text", (2, 1), {"text": 1, "picture": 0}),
        ("logit_scale", (2,), {"axis 0": 1}),
    ],
)
def test_where_the_largest_error_lies(path, shape, axes):
    assert difference(path, theirs=(1.0, 3.0), shape=shape).where == axes


def test_without_tolerance_any_error_is_too_much():
    assert difference(tolerance=0.0).excess == 0
    assert difference(theirs=(1.0, 3.0), tolerance=0.0).excess == inf
