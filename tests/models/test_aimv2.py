import copy
import math

import numpy as np
import pytest

from aimv2_np import Aimv2Model
from aimv2_np.models.aimv2 import vision_tower_of
from tests.support import reference
from tests.support.models import (
    assert_close,
    both_config,
    both_model,
    pixels,
    text_config,
    tokens,
    vision_config,
    vision_model,
)

FIELDS = [
    "logits_per_image", "logits_per_text", "text_embeds", "image_embeds", "text_model_output", "vision_model_output"
]  # fmt: skip


def by_hand(model, ids, x, mask=None, causal=True):
    """(image features, text features, logits per text) in float64."""
    state, config = model.state_dict(), model.config
    _, _, image = reference.vision(state, config.vision_config, x, "vision_model.")
    _, _, text = reference.text(state, config.text_config, ids, mask, causal, "text_model.")
    image = image @ np.asarray(state["visual_projection.weight"], float).T
    text = text @ np.asarray(state["text_projection.weight"], float).T
    scale = math.exp(min(max(float(state["logit_scale"]), 0), math.log(config.max_logit_scale)))
    unit = [f / np.sqrt((f**2).sum(-1, keepdims=True)) for f in (text, image)]
    return image, text, scale * unit[0] @ unit[1].T


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_network_written_out_again(causal, masked):
    model, ids, x = both_model(), tokens(3), pixels(2)
    mask = np.array([[1] * 6, [1, 1, 1, 0, 0, 0], [1] * 6]) if masked else None
    ids[1, 2] = 39
    image, text, logits = by_hand(model, ids, x, mask, causal)
    wide = model.to(dtype="float64")
    output = wide(ids, x, mask, causal=causal)
    np.testing.assert_allclose(output.logits_per_text, logits, atol=1e-12)
    np.testing.assert_allclose(output.logits_per_image, logits.T, atol=1e-12)
    np.testing.assert_allclose(wide.get_image_features(x), image, atol=1e-12)
    np.testing.assert_allclose(wide.get_text_features(ids, mask, causal=causal), text, atol=1e-12)
    assert_close(model(ids, x, mask, causal=causal).logits_per_text, logits, ulps=100)
    assert output.logits_per_text.shape == (3, 2)


@pytest.mark.parametrize(("scale", "factor"), [(-5.0, 1.0), (0.0, 1.0), (1.0, math.e), (2.0, 4.0), (50.0, 4.0)])
def test_the_temperature_is_clipped(scale, factor):
    model = both_model(max_logit_scale=4.0)
    model.logit_scale[...] = scale
    output = model(tokens(), pixels())
    np.testing.assert_allclose(output.logits_per_text, factor * output.text_embeds @ output.image_embeds.T, rtol=1e-5)


def test_embeds_have_length_one_and_features_do_not():
    model = both_model()
    output = model(tokens(), pixels())
    features = model.get_image_features(pixels()), model.get_text_features(tokens())
    for unit, raw in zip((output.image_embeds, output.text_embeds), features, strict=True):
        np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), 1, rtol=1e-6)
        lengths = np.linalg.norm(raw, axis=-1, keepdims=True)
        assert np.abs(lengths - 1).max() > 0.1
        np.testing.assert_allclose(raw / lengths, unit, atol=1e-6)
        assert raw.shape == (2, 10)


def test_keys_positions_and_tuples():
    output = both_model()(tokens(), pixels())
    assert list(output) == list(output.keys()) == FIELDS
    assert output.loss is None
    assert "loss" not in output
    np.testing.assert_array_equal(output[0], output["logits_per_image"])
    np.testing.assert_array_equal(output[1], output.logits_per_text)
    np.testing.assert_array_equal(output[-1][1], output.vision_model_output.pooler_output)


def test_return_dict_false_gives_nested_tuples_without_what_is_absent():
    model = both_model()
    whole = model(tokens(), pixels())
    plain = model(tokens(), pixels(), return_dict=False)
    assert isinstance(plain, tuple)
    assert len(plain) == 6
    for part, name in zip(plain[:4], FIELDS, strict=False):
        np.testing.assert_array_equal(part, whole[name])
    for part, name in zip(plain[4:], FIELDS[4:], strict=True):
        assert isinstance(part, tuple)
        assert len(part) == 2
        np.testing.assert_array_equal(part[0], whole[name].last_hidden_state)
        np.testing.assert_array_equal(part[1], whole[name].pooler_output)
    rich = model(tokens(), pixels(), return_dict=False, output_hidden_states=True, output_attentions=True)
    assert [len(part) for part in rich[4:]] == [4, 4]
    assert len(model(tokens(), pixels(), return_dict=False, return_loss=True)) == 7


def test_extras_reach_both_towers():
    output = both_model()(tokens(), pixels(), output_hidden_states=True, output_attentions=True)
    for tower in (output.text_model_output, output.vision_model_output):
        assert len(tower.hidden_states) == 3
        assert len(tower.attentions) == 2


def cross_entropy(logits):
    return np.mean([math.log(sum(math.exp(v) for v in row)) - row[i] for i, row in enumerate(logits.tolist())])


@pytest.mark.parametrize("batch", [1, 3])
def test_loss_is_the_contrastive_one(batch):
    model = both_model()
    output = model(tokens(batch), pixels(batch), return_loss=True)
    expected = (cross_entropy(output.logits_per_text) + cross_entropy(output.logits_per_image)) / 2
    assert output.loss.shape == ()
    np.testing.assert_allclose(output.loss, expected, atol=1e-6)
    assert next(iter(output)) == "loss"
    np.testing.assert_array_equal(output[0], output.loss)
    if batch == 1:
        np.testing.assert_allclose(output.loss, 0, atol=1e-6)


def test_loss_needs_pairs():
    model = both_model()
    for ids, x in ((tokens(3), pixels(2)), (tokens(1), pixels(2)), (tokens(), None), (None, pixels())):
        with pytest.raises(ValueError, match="expected as many of both for return_loss"):
            model(ids, x, return_loss=True)


def test_loss_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="return_loss"):
        both_model()(tokens(0), pixels(0), return_loss=True)


def test_empty_batches():
    model = both_model()
    output = model(tokens(0), pixels(2))
    assert output.logits_per_image.shape == (2, 0)
    assert model(tokens(2), pixels(0)).logits_per_image.shape == (0, 2)
    assert model.get_image_features(pixels(0)).shape == (0, 10)


def test_either_tower_alone():
    model = both_model()
    both = model(tokens(), pixels())
    image, text = model(pixel_values=pixels()), model(input_ids=tokens())
    assert list(image) == ["image_embeds", "vision_model_output"]
    assert list(text) == ["text_embeds", "text_model_output"]
    np.testing.assert_array_equal(image.image_embeds, both.image_embeds)
    np.testing.assert_array_equal(text.text_embeds, both.text_embeds)
    assert image.logits_per_image is None
    assert len(model(pixel_values=pixels(), return_dict=False)) == 2


def test_neither_tower():
    with pytest.raises(ValueError, match="input_ids and pixel_values are None"):
        both_model()()
    with pytest.raises(ValueError, match="input_ids and pixel_values are None"):
        both_model()(attention_mask=[[1]])


def test_arguments_reach_the_towers():
    model, ids, x = both_model(), tokens(), pixels(2, 16, 8)
    with pytest.raises(ValueError, match="interpolate_pos_encoding"):
        model(ids, x)
    with pytest.raises(ValueError, match="interpolate_pos_encoding"):
        model.get_image_features(x)
    stretched = model(ids, x, interpolate_pos_encoding=True).vision_model_output.pooler_output
    np.testing.assert_array_equal(stretched, model.vision_model(x, interpolate_pos_encoding=True).pooler_output)
    assert model.get_image_features(x, interpolate_pos_encoding=True).shape == (2, 10)
    free = model(ids, causal=False).text_embeds
    assert np.abs(free - model(ids).text_embeds).max() > 1e-3
    assert np.abs(model.get_text_features(ids, causal=False) - model.get_text_features(ids)).max() > 1e-3


def test_the_order_of_arguments_is_transformers():
    model, mask = both_model(), np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    by_position = model(tokens(), pixels(), mask)
    by_name = model(attention_mask=mask, pixel_values=pixels(), input_ids=tokens())
    np.testing.assert_array_equal(by_position.logits_per_image, by_name.logits_per_image)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype):
    model = both_model().to(dtype=dtype)
    output = model(tokens(), pixels(), return_loss=True)
    for name in ("loss", *FIELDS[:4]):
        assert output[name].dtype == dtype, name
    assert_close(output.logits_per_text, by_hand(model, tokens(), pixels().astype(dtype))[2], ulps=100)


def test_pictures_and_texts_of_a_batch_are_independent():
    model, ids, x = both_model(), tokens(3), pixels(3)
    whole = model(ids, x).logits_per_image
    for i in range(3):
        for j in range(3):
            one = model(ids[j : j + 1], x[i : i + 1]).logits_per_image
            np.testing.assert_allclose(one[0, 0], whole[i, j], atol=1e-5)


def test_without_a_head_there_is_nothing_to_compare():
    with pytest.raises(ValueError, match=r"vision_config\.use_head is False.*Aimv2VisionModel"):
        Aimv2Model(both_config(vision_config=vision_config(use_head=False)))


def test_towers_of_any_kind():
    config = both_config(
        vision_config=vision_config(is_native=True, qkv_bias=True, hidden_act="gelu"),
        text_config=text_config(mlp_bias=True, hidden_act="relu2"),
    )
    output = Aimv2Model(config)(tokens(), pixels(2, 8, 20))
    assert output.logits_per_image.shape == (2, 2)


@pytest.mark.parametrize("path", [
    "logit_scale", "visual_projection.weight", "text_projection.weight", "vision_model.head.output_proj.bias",
    "text_model.encoder.layers.0.ffn.gate_proj.weight",
])  # fmt: skip
def test_damaged_weights_are_reported_by_name(path):
    model = both_model()
    model.state_dict()[path].reshape(-1)[0] = np.nan
    name = path.removeprefix("vision_model.").removeprefix("text_model.")
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=rf"{name} holds NaN"):
        model(tokens(), pixels())


@pytest.mark.parametrize("path", ["visual_projection.weight", "text_projection.weight"])
def test_damaged_projections_give_no_features(path):
    model = both_model()
    model.state_dict()[path][0, 0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=rf"{path} holds NaN"):
        (model.get_image_features(pixels()), model.get_text_features(tokens()))


def test_a_tower_that_is_put_in_is_the_one_that_computes_and_is_saved():
    model, other = both_model(), vision_model(seed=9)
    assert model.vision_model is model.vision_model
    model.vision_model = other
    assert model.vision_model is other
    for path, array in other.state_dict("vision_model").items():
        np.testing.assert_array_equal(model.state_dict()[path], array)
    model.network.vision_model = vision_model().network
    assert model.vision_model.network is model.network.vision_model


def test_a_copy_has_parts_of_its_own():
    model = vision_model()
    other = copy.copy(model)
    other.head = None
    assert model.head is not None
    assert other.encoder is model.encoder


def test_a_tower_without_a_head_is_not_compared():
    model = both_model()
    model.vision_model.head = None
    with pytest.raises(ValueError, match="vision_model has no head"):
        model(tokens(), pixels())


def test_the_vision_tower_of_a_model():
    model = both_model()
    assert vision_tower_of(model) is model.vision_model
    assert vision_tower_of(model.vision_model) is model.vision_model
    with pytest.raises(ValueError, match="model is an Aimv2TextModel; expected one with a vision tower"):
        vision_tower_of(model.text_model)
