"""Features of layers, of patches and of pictures: the states that the model has on the way, and nothing more kept."""

import numpy as np
import pytest

from tests.support.models import assert_close, pixels, vision_model

pytestmark = pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
ULPS = 200  # the same network in other batches, see test_packing


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("layers", [[-1], [-4, -1], [0, 3, 1], [3, -1, 3]])
def test_tokens_are_the_hidden_states(norm, layers):
    model = vision_model(num_hidden_layers=3)
    states = model(pixels(), output_hidden_states=True).hidden_states
    found = model.extract_features(pixels(), layers, norm=norm)
    assert found.layers == tuple(layer % 4 for layer in layers)
    for value, layer in zip(found.values, layers, strict=True):
        assert_close(value, model.rms_norm(states[layer]) if norm else states[layer], ulps=ULPS)


def test_the_last_layer_is_what_the_model_returns():
    model, output = vision_model(), vision_model()(pixels())
    for features, wanted in {
        "tokens": output.last_hidden_state,
        "mean": output.last_hidden_state.mean(1),
        "head": output.pooler_output,
    }.items():
        assert_close(model.extract_features(pixels(), features=features).values[0], wanted, ulps=ULPS)


def test_blocks_behind_the_last_layer_that_is_asked_for_do_not_run():
    model = vision_model(num_hidden_layers=3)
    expected = model.extract_features(pixels(), [1]).values[0]
    model.encoder.layers[1:] = [None, None]
    np.testing.assert_array_equal(model.extract_features(pixels(), [1, 0]).values[0], expected)


@pytest.mark.parametrize("features", ["tokens", "mean", "head"])
def test_a_list_of_pictures(features):
    model = vision_model(is_native=True)
    images = [pixels(1, *size, seed=i)[0] for i, size in enumerate([(8, 12), (16, 16), (4, 24), (8, 12)])]
    found = model.extract_features(images, [-2, -1], features=features, max_tokens=10)
    assert found.grid == ((2, 3), (4, 4), (1, 6), (2, 3))
    for i, image in enumerate(images):
        alone = model.extract_features(image[None], [-2, -1], features=features)
        for value, wanted in zip(found.values, alone.values, strict=True):
            assert_close(value[i], wanted[0], ulps=ULPS)
    if features == "tokens":
        assert [it.shape for it in found.to_feature_map()[0]] == [(16, 2, 3), (16, 4, 4), (16, 1, 6), (16, 2, 3)]


def test_feature_maps():
    found = vision_model().extract_features(pixels(), [0, -1])
    first, last = found.to_feature_map()
    assert first.shape == last.shape == (2, 16, 3, 3)
    np.testing.assert_array_equal(last[1, :, 2, 0], found.values[1][1, 6])
    with pytest.raises(ValueError, match="no vector per patch"):
        vision_model().extract_features(pixels(), features="mean").to_feature_map()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_padding_is_no_part_of_the_mean(dtype):
    model, mask = vision_model().to(dtype=dtype), np.array([[1] * 6 + [0] * 3, [0] * 4 + [1] * 5])
    tokens = model(pixels(), attention_mask=mask).last_hidden_state.astype(float)
    mean = model.extract_features(pixels(), features="mean", attention_mask=mask).values[0]
    assert mean.dtype == dtype
    assert_close(mean, np.stack([tokens[0, :6].mean(0), tokens[1, 4:].mean(0)]), ulps=ULPS)
    head = model.extract_features(pixels(), features="head", attention_mask=mask).values[0]
    assert_close(head, model(pixels(), attention_mask=mask).pooler_output, ulps=ULPS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [3]}, r"layers holds 3; expected whole numbers from -3 to 2"),
        ({"layers": [-4]}, "layers holds -4"),
        ({"layers": [True]}, "layers holds True"),
        ({"layers": []}, r"layers is \[\]"),
        ({"layers": 2}, "layers is 2"),
        ({"features": "cls"}, "features is 'cls'; expected one of tokens, mean, head"),
        ({"features": "head", "norm": False}, "norm is False; expected True"),
    ],
)
def test_what_there_is_not(options, message):
    with pytest.raises(ValueError, match=message):
        vision_model().extract_features(pixels(), **options)


def test_no_head_and_a_mask_for_a_list():
    with pytest.raises(ValueError, match="but the model has no pooling head; expected 'tokens' or 'mean'"):
        vision_model(use_head=False).extract_features(pixels(), features="head")
    with pytest.raises(ValueError, match="attention_mask is given for a list"):
        vision_model().extract_features(list(pixels()), attention_mask=np.ones((2, 9)))
