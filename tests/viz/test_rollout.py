import numpy as np
import pytest

from aimv2_np import Aimv2VisionModel
from aimv2_np.viz import attention_rollout, draw_attention_rollout, pooling_attention
from tests.support.pictures import photo
from tests.support.two_towers import vision_config


def test_it_is_the_product_of_all_layers(loaded):
    model, processor = loaded
    pixels = processor(images=[photo(20, 30), photo(31, 17, seed=1)])["pixel_values"]
    expected = np.eye(6)
    for probs in model.vision_model(pixels, output_attentions=True).attentions:
        expected = 0.5 * (probs.astype(np.float64).mean(axis=1) + np.eye(6)) @ expected
    rollout = attention_rollout(model, pixels)
    assert rollout.shape == (2, 6, 6)
    np.testing.assert_allclose(rollout, expected, rtol=1e-5)  # float32 against float64, a few ε per layer
    np.testing.assert_allclose(rollout.sum(axis=2), 1, rtol=1e-6)


def test_where_all_attention_is_even():
    layers, tokens = 3, 12
    model = Aimv2VisionModel(vision_config(is_native=True, num_hidden_layers=layers))
    for layer in model.encoder.layers:
        layer.attention.q_proj.weight[:] = 0
    pixels = np.random.default_rng(0).normal(size=(1, 3, 24, 32)).astype(np.float32)
    # ½ (11ᵀ/N + I) has the eigenvalues 1 and ½: its powers are known.
    stays = 0.5**layers
    expected = stays * np.eye(tokens) + (1 - stays) / tokens
    np.testing.assert_allclose(attention_rollout(model, pixels)[0], expected, rtol=1e-5)


def test_one_patch_gets_all(native):
    model, processor = native
    np.testing.assert_allclose(attention_rollout(model, processor(photo(9, 9))["pixel_values"]), [[[1]]], rtol=1e-6)


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing(loaded):
    model, processor = loaded
    picture = photo(20, 30)
    rollout, figure = draw_attention_rollout(model, processor, picture, (0, 1))
    pixels = processor(images=picture)["pixel_values"]
    np.testing.assert_array_equal(rollout, attention_rollout(model, pixels)[0])
    _, patch, head = (ax for ax in figure.axes if ax.get_xlabel() == "patch column")
    np.testing.assert_allclose(np.asarray(patch.images[1].get_array()), 6 * rollout[1].reshape(2, 3), rtol=1e-6)
    expected = (pooling_attention(model, pixels)[0].reshape(1, 6) @ rollout).reshape(2, 3)
    np.testing.assert_allclose(np.asarray(head.images[1].get_array()), 6 * expected, rtol=1e-5)
    assert head.get_title() == "from the pooling head"


@pytest.mark.usefixtures("matplotlib")
def test_without_a_head_it_is_the_mean(native):
    model, processor = native
    rollout, figure = draw_attention_rollout(model, processor, photo(17, 30))
    mean = next(ax for ax in figure.axes if ax.get_title() == "from the mean of all")
    np.testing.assert_allclose(np.asarray(mean.images[1].get_array()).ravel(), 6 * rollout.mean(axis=0), rtol=1e-6)
