import numpy as np

from aimv2_np import textbook
from aimv2_np.models import skeleton
from aimv2_np.network.view import CAUSAL
from tests.support.models import randomized, text_config, vision_config


def filled(tree, seed=0):
    return randomized(tree.map(lambda path, place: np.zeros(place.shape)), seed)


def layer_of(config):
    return filled(skeleton.encoder(config).layers[0])


def test_a_block_is_two_residual_steps():
    layer = layer_of(vision_config(qkv_bias=True, mlp_bias=True))
    x = np.random.default_rng(0).standard_normal((2, 5, 16))
    middle = x + layer.attention(layer.rms_norm1(x))
    expected = middle + layer.ffn(layer.rms_norm2(middle))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-14)
    assert not np.allclose(expected, x + layer.attention(layer.rms_norm1(x)) + layer.ffn(layer.rms_norm2(x)))


def test_a_block_that_computes_nothing_is_the_identity():
    layer = skeleton.encoder(vision_config()).layers[0].map(lambda path, place: np.zeros(place.shape))
    x = np.random.default_rng(0).standard_normal((2, 5, 16))
    np.testing.assert_array_equal(layer(x), x)


def test_blocks_run_in_order():
    encoder = filled(skeleton.encoder(text_config(num_hidden_layers=3)))
    assert len(encoder.layers) == 3
    x = np.random.default_rng(0).standard_normal((1, 4, 12))
    expected = x
    for layer in encoder.layers:
        expected = layer(expected, CAUSAL)
    np.testing.assert_allclose(encoder(x, CAUSAL), expected, rtol=1e-12)
    with textbook():
        expected = x
        for layer in encoder.layers:
            expected = layer(expected, CAUSAL)
        np.testing.assert_array_equal(encoder(x, CAUSAL), expected)
    assert not np.allclose(encoder(x), expected)  # the view reaches the blocks


def test_the_input_is_not_modified():
    encoder = filled(skeleton.encoder(vision_config()))
    x = np.random.default_rng(0).standard_normal((1, 4, 16))
    x.flags.writeable = False
    encoder(x)


def test_biases_follow_the_configuration():
    def biases(**changes):
        names = skeleton.encoder(vision_config(**changes)).layers[0].state_dict()
        return {name.split(".")[0] for name in names if name.endswith("bias")}

    assert biases() == set()
    assert biases(qkv_bias=True) == {"attention"}
    assert biases(mlp_bias=True) == {"ffn"}
