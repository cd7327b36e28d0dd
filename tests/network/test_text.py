"""The text tower as its equation is written, and where a text ends."""

import numpy as np
import pytest

from aimv2_np import textbook
from aimv2_np.models import skeleton
from aimv2_np.network.text import text_vectors
from aimv2_np.network.view import CAUSAL, EVERYONE, Padded
from tests.support.models import randomized, text_config


def tower(end=3):
    empty = skeleton.text_tower(text_config(eos_token_id=end))
    return randomized(empty.map(lambda path, place: np.zeros(place.shape)))


IDS = np.array([[5, 4, 3, 1], [3, 4, 5, 3], [5, 4, 1, 2]])


def test_from_ids_to_outputs():
    network = tower()
    with textbook():
        x = network.embeddings.token_embedding(IDS) + network.embeddings.position_embedding.weight[:4]
        for layer in network.encoder.layers:
            x = layer(x, CAUSAL)
        x = network.rms_norm(x)
        output = network(IDS)
        np.testing.assert_array_equal(output.last_hidden_state, x)
        np.testing.assert_array_equal(output.pooler_output, x[[0, 1, 2], [2, 0, 0]])
        np.testing.assert_array_equal(text_vectors(IDS, network, CAUSAL), output.pooler_output)


def test_later_tokens_are_seen_only_where_the_view_says_so():
    network = tower()
    changed = IDS.copy()
    changed[:, -1] = 0
    before, after = network(IDS).last_hidden_state, network(changed).last_hidden_state
    np.testing.assert_allclose(before[:, :3], after[:, :3], rtol=1e-12)
    both_ways = [network(ids, EVERYONE).last_hidden_state[:, :3] for ids in (IDS, changed)]
    assert not np.allclose(*both_ways)


@pytest.mark.parametrize(
    ("keys", "ends"),
    [
        (None, [2, 0, 0]),  # the first end, or the first token
        ([[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1]], [2, 3, 0]),  # padding before the text is no end of it
        ([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], [2, 0, 0]),  # where the text has none, padding ends it
    ],
)
def test_where_a_text_ends(keys, ends):
    view = CAUSAL if keys is None else CAUSAL & Padded(np.array(keys))
    np.testing.assert_array_equal(tower().ends(IDS, view), ends)
