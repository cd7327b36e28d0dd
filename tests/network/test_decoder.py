import numpy as np
import pytest

from tests.support.models import pretraining_model

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((2, 9, 16)).astype(np.float32)
IDS = RNG.integers(0, 40, (2, 5))
DECODER = pretraining_model().decoder


def test_shapes():
    """A picture of N patches has N - 1 to predict, and every token is predicted, the first by the start token."""
    found = DECODER(FEATURES, IDS)
    assert found.patches.shape == (2, 8, 48)
    assert found.logits.shape == (2, 5, 40)


@pytest.mark.parametrize("patch", range(9))
def test_a_patch_is_predicted_from_those_before_it(patch):
    """Output i is of patch i + 1 and sees patches 0 to i."""
    changed = FEATURES.copy()
    changed[:, patch] += 1
    before, after = DECODER(FEATURES, IDS), DECODER(changed, IDS)
    same = [np.array_equal(before.patches[:, i], after.patches[:, i]) for i in range(8)]
    assert same == [i < patch for i in range(8)]
    assert not np.isclose(before.logits, after.logits).all(axis=-1).any()  # words see the whole picture


@pytest.mark.parametrize("token", range(5))
def test_a_token_is_predicted_from_those_before_it_and_from_the_picture(token):
    changed = IDS.copy()
    changed[:, token] = (changed[:, token] + 1) % 40
    before, after = DECODER(FEATURES, IDS), DECODER(FEATURES, changed)
    np.testing.assert_array_equal(before.patches, after.patches)
    same = [np.allclose(before.logits[:, i], after.logits[:, i], atol=1e-6) for i in range(5)]
    assert same == [i <= token for i in range(5)]


def test_positions_are_of_the_start_and_the_tokens_alone():
    """One row for the start, then one for each token; none for patches."""
    assert len(DECODER.embeddings.position_embedding.weight) == 10  # of 9 tokens
    embedded = DECODER.embeddings(IDS)
    table, positions = DECODER.embeddings.token_embedding.weight, DECODER.embeddings.position_embedding.weight
    np.testing.assert_array_equal(embedded[:, 0], np.tile(DECODER.embeddings.start_token[0, 0] + positions[0], (2, 1)))
    np.testing.assert_array_equal(embedded[:, 3], table[IDS[:, 2]] + positions[3])
