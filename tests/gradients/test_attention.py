from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.gradients import attention as module
from aimv2_np.network.attention import attention
from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Packed, Padded, Prefix
from tests.support.gradients import check

SIZES = st.integers(1, 4)
VIEWS = {
    "everyone": EVERYONE,
    "causal": CAUSAL,
    "prefix": Prefix(np.array([2, 0])),
    "padded": Padded(np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]])),
    "causal and padded": CAUSAL & Padded(np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])),
    "prefix and padded": Prefix(np.array([2, 3])) & Padded(np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])),
    "mask": Mask(np.random.default_rng(4).random((2, 1, 5, 5)) < 0.7),
}


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.floats(0.1, 2))
def test_it_is_the_slope(batch, heads, queries, keys, size, scale):
    q, k, v = (normal(i, batch, heads, n, size) for i, n in enumerate((queries, keys, keys)))
    check(lambda q, k, v: attention(q, k, v, scale), q, k, v)


@pytest.mark.parametrize("tile", [1, 25, 1 << 20])
@pytest.mark.parametrize("name", VIEWS)
def test_whoever_may_be_seen(name, tile):
    q, k, v = (normal(i, 2, 3, 5, 4) for i in range(3))
    with patch.dict(module.TILES, numpy=tile), patch.object(module, "ROWS", 1):
        check(lambda q, k, v: attention(q, k, v, 0.5, VIEWS[name]), q, k, v)


@pytest.mark.parametrize("view", [Packed((3, 2)), Packed((3, 2), (1, 1))])
def test_sequences_in_one_row(view):
    queries = sum(view.queries or view.lengths)
    q, k, v = (normal(i, 1, 2, n, 4) for i, n in enumerate((queries, 5, 5)))
    check(lambda q, k, v: attention(q, k, v, 0.5, view), q, k, v)


def test_no_more_scores_are_held_than_a_tile_has():
    """What would be 4 million scores is computed in pieces: the largest array is a tile, or of 32 queries."""
    q, k, v = (normal(i, 1, 1, 2048, 2).astype(np.float32) for i in range(3))
    largest = []
    real = module.softmax

    def softmax(scores):
        largest.append(scores.size)
        return real(scores)

    with patch.object(module, "softmax", softmax):
        module.backward.textbook(q, k, v, attention(q, k, v, 1.0), np.ones_like(q), 1.0, EVERYONE)
    assert max(largest) == max(module.TILES["numpy"], module.ROWS * 2048)
    assert len(largest) == 64
