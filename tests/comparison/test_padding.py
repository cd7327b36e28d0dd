"""Rows of padding mean nothing, so nothing is asked of them; all other rows count."""

import numpy as np
import pytest

from aimv2_np.comparison.padding import Padding
from aimv2_np.recording import Recording

MASK = np.array([[0, 1, 1], [1, 1, 0]])
OURS, THEIRS = np.zeros((2, 3, 4)), np.ones((2, 3, 4))


def padding(mask=MASK, **inputs):
    return Padding.of(Recording.from_arrays({"rms_norm": OURS}, {"attention_mask": mask, **inputs}))


def test_rows_that_have_nothing_to_look_at():
    found = padding().without("rms_norm", OURS, THEIRS)
    np.testing.assert_array_equal(found[..., 0], [[0, 1, 1], [1, 1, 1]])


def test_all_padding_when_asked_strictly():
    found = padding().without("rms_norm", OURS, THEIRS, strictly=True)
    np.testing.assert_array_equal(found[..., 0], MASK)


@pytest.mark.parametrize("name", ["scores", "probs"])
def test_pairs_of_tokens_count_when_both_do(name):
    ours, theirs = np.zeros((2, 5, 3, 3)), np.ones((2, 5, 3, 3))
    found = padding().without(f"encoder.layers.0.attention.{name}", ours, theirs, strictly=True)
    for head in range(5):
        np.testing.assert_array_equal(found[:, head], MASK[:, :, None] * MASK[:, None, :])


def test_queries_of_all_heads():
    found = padding().without("encoder.layers.0.attention.q", np.zeros((2, 5, 3, 7)), np.ones((2, 5, 3, 7)))
    np.testing.assert_array_equal(found[:, 2, :, 3], [[0, 1, 1], [1, 1, 1]])


@pytest.mark.parametrize(
    ("found", "path"),
    [
        (padding(np.ones((2, 3))), "rms_norm"),
        (padding(), "embeddings.position_embedding"),
        (padding(pixel_values=np.zeros((2, 3, 4, 4))), "vision_model.rms_norm"),
    ],
    ids=["no padding", "positions", "the other tower"],
)
def test_what_has_no_such_rows_stays(found, path):
    assert found.without(path, OURS, THEIRS) is THEIRS
