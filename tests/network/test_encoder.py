import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np import textbook
from aimv2_np.network.encoder import Encoder, EncoderLayer
from tests.support.models import randomized, text_config, vision_config


def filled(skeleton, seed=0):
    return randomized(skeleton.map(lambda path, place: np.zeros(place.shape)), seed)


def test_a_block_is_two_residual_steps():
    layer = filled(EncoderLayer.skeleton(vision_config(qkv_bias=True, mlp_bias=True)))
    x = np.random.default_rng(0).standard_normal((2, 5, 16))
    middle = x + layer.attention(layer.rms_norm1(x))
    expected = middle + layer.ffn(layer.rms_norm2(middle))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-14)
    assert not np.allclose(expected, x + layer.attention(layer.rms_norm1(x)) + layer.ffn(layer.rms_norm2(x)))


@pytest.mark.parametrize("mask", ["none", "causal", "keys", "both"])
@given(batch=st.integers(1, 4), tokens=st.integers(1, 7), seed=st.integers(0, 99))
def test_one_position_is_that_of_the_whole_block(mask, batch, tokens, seed):
    layer = filled(EncoderLayer.skeleton(text_config(qkv_bias=True, mlp_bias=True)))
    rng = np.random.default_rng(seed)
    x, positions = rng.standard_normal((batch, tokens, 12)), rng.integers(0, tokens, batch)
    causal, keys = np.tril(np.ones((tokens, tokens), bool))[None, None], rng.random((batch, 1, 1, tokens)) < 0.7
    allowed = {"none": None, "causal": causal, "keys": keys, "both": causal & keys}[mask]
    expected = layer(x, allowed)[np.arange(batch), positions]
    np.testing.assert_allclose(layer.at(x, positions, allowed), expected, rtol=1e-10, atol=1e-12)


def test_a_block_that_computes_nothing_is_the_identity():
    layer = EncoderLayer.skeleton(vision_config()).map(lambda path, place: np.zeros(place.shape))
    x = np.random.default_rng(0).standard_normal((2, 5, 16))
    np.testing.assert_array_equal(layer(x), x)


def test_blocks_run_in_order():
    encoder = filled(Encoder.skeleton(text_config(num_hidden_layers=3)))
    assert len(encoder.layers) == 3
    x = np.random.default_rng(0).standard_normal((1, 4, 12))
    mask = np.tril(np.ones((4, 4), bool))[None, None]
    expected = x
    for layer in encoder.layers:
        expected = layer(expected, mask)
    np.testing.assert_allclose(encoder(x, mask), expected, rtol=1e-12)
    with textbook():
        expected = x
        for layer in encoder.layers:
            expected = layer(expected, mask)
        np.testing.assert_array_equal(encoder(x, mask), expected)
    assert not np.allclose(encoder(x), expected)  # the mask reaches the blocks


def test_the_input_is_not_modified():
    encoder = filled(Encoder.skeleton(vision_config()))
    x = np.random.default_rng(0).standard_normal((1, 4, 16))
    x.flags.writeable = False
    encoder(x)


def test_biases_follow_the_configuration():
    def biases(**changes):
        names = EncoderLayer.skeleton(vision_config(**changes)).state_dict()
        return {name.split(".")[0] for name in names if name.endswith("bias")}

    assert biases() == set()
    assert biases(qkv_bias=True) == {"attention"}
    assert biases(mlp_bias=True) == {"ffn"}
