"""Outputs that were rounded to half precision are said to be that, and nothing else is."""

import ml_dtypes
import numpy as np
import pytest

from aimv2_np.comparison import compare
from tests.support.models import pixels, vision_model
from tests.support.port import recorded

LAST = "rms_norm"
DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


def compared(change):
    model, given = vision_model(use_head=False), {"pixel_values": pixels()}
    reference = recorded(model, given)
    other = {path: change(array) if path == LAST else array for path, array in reference.items()}
    return compare({**reference}, {path: other[path] for path in other if path != "last_hidden_state"}, model=model)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounded_numbers_are_recognised(dtype):
    result = compared(lambda array: array.astype(DTYPES[dtype]).astype(np.float32))
    assert not result.equal
    assert result.first.path == LAST
    assert f"computes {LAST} in {dtype}" in result.explanation


def test_other_errors_of_that_size_are_not():
    noise = np.random.default_rng(0)
    result = compared(lambda array: array * (1 + 1e-3 * noise.standard_normal(array.shape, dtype=np.float32)))
    assert not result.equal
    assert "float16" not in result.explanation


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounded_numbers_are_recognised_where_what_follows_agrees(dtype):
    model, given = vision_model(use_head=False), {"pixel_values": pixels()}
    reference = recorded(model, given)
    path = "encoder.layers.0.attention.q_proj"
    other = reference | {path: reference[path].astype(DTYPES[dtype]).astype(np.float32)}
    result = compare(reference, other, model=model)
    assert result.diagnosis.identifier == "reduced_precision"
    assert f"computes {path} in {dtype}" in result.explanation
