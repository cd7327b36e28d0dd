"""Vectors of texts from the ends of the last layer alone are those of the whole tower."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.kernels.ends import layer_at, vectors_of_ends
from aimv2_np.models import skeleton
from aimv2_np.network.text import text_vectors
from aimv2_np.network.view import CAUSAL, EVERYONE, Padded
from tests.support.models import randomized, text_config, text_model


@pytest.mark.parametrize("kind", ["none", "causal", "keys", "both"])
@given(batch=st.integers(1, 4), tokens=st.integers(1, 7), seed=st.integers(0, 99))
def test_one_position_is_that_of_the_whole_layer(kind, batch, tokens, seed):
    config = text_config(qkv_bias=True, mlp_bias=True)
    layer = randomized(skeleton.encoder(config).layers[0].map(lambda path, place: np.zeros(place.shape)))
    rng = np.random.default_rng(seed)
    x, positions = rng.standard_normal((batch, tokens, 12)), rng.integers(0, tokens, batch)
    keys = Padded((rng.random((batch, tokens)) < 0.7).astype(np.int64))
    view = {"none": EVERYONE, "causal": CAUSAL, "keys": keys, "both": CAUSAL & keys}[kind]
    expected = layer(x, view)[np.arange(batch), positions]
    np.testing.assert_allclose(layer_at(layer, x, positions, view), expected, rtol=1e-10, atol=1e-12)


@given(batch=st.integers(1, 4), tokens=st.integers(1, 7), padded=st.booleans(), seed=st.integers(0, 99))
def test_vectors(batch, tokens, padded, seed):
    tower = text_model().to(dtype="float64").network
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, tower.embeddings.token_embedding.weight.shape[0], (batch, tokens))
    view = CAUSAL & Padded((rng.random((batch, tokens)) < 0.7).astype(np.int64)) if padded else CAUSAL
    expected = text_vectors.textbook(ids, tower, view)
    np.testing.assert_allclose(vectors_of_ends(ids, tower, view), expected, rtol=1e-9, atol=1e-11)
