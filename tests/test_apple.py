"""Apple's own PyTorch, MLX and JAX code, and timm's, ran these networks; blocks and outputs must agree.

All is float32 on numbers of size one to five, through two blocks: 1e-5 is some 20 ε of the largest, and a hundredth of
what a wrong formula of any kind costs.
"""

import numpy as np
import pytest

import aimv2_np
from aimv2_np import trace
from tests.support.layouts import ALL, APPLE, folder_of, recorded
from tests.support.tally import compared, difference

DTYPES = ["float32", "float64"]
TOLERANCE = 1e-5


def close(actual, expected, whose="Apple's code"):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)
    compared(whose, difference(actual, expected), TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", APPLE)
@pytest.mark.parametrize("name", ["apple-absolute", "apple-native"])
def test_vision(tmp_path, name, layout, dtype):
    inputs, expected = recorded(name)
    model = aimv2_np.load(folder_of(tmp_path, name, layout), dtype=dtype)
    with trace(model) as activations:
        output = model(inputs["pixel_values"])
    for i in range(2):
        close(activations[f"encoder.layers.{i}"], expected[f"vision_block_{i}"])
    close(output.last_hidden_state, expected["last_hidden_state"])
    close(model(inputs["pixel_values"]).last_hidden_state, expected["last_hidden_state"])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", APPLE)
def test_two_towers(tmp_path, layout, dtype, masked):
    """Apple takes no mask: what stands behind a token is out of its sight. With one, rows of padding may differ."""
    inputs, expected = recorded("apple-lit")
    model = aimv2_np.load(folder_of(tmp_path, "apple-lit", layout), dtype=dtype)
    valid = inputs["attention_mask"] == 1
    assert 0 < valid.sum() < valid.size
    if not masked:
        del inputs["attention_mask"]
        valid[:] = True
    with trace(model) as activations:
        model(**inputs)
    output = model(**inputs)  # without a trace the faster bodies run
    for i in range(2):
        close(activations[f"vision_model.encoder.layers.{i}"], expected[f"vision_block_{i}"])
        close(activations[f"text_model.encoder.layers.{i}"][valid], expected[f"text_block_{i}"][valid])
    close(output.vision_model_output.pooler_output, expected["vision_pooler_output"])
    close(output.text_model_output.pooler_output, expected["text_pooler_output"])
    for name in ("image_embeds", "text_embeds", "logits_per_image", "logits_per_text"):
        close(output[name], expected[name])


@pytest.mark.parametrize("layout", APPLE)
def test_one_tower_of_two(tmp_path, layout):
    inputs, expected = recorded("apple-lit")
    folder = folder_of(tmp_path, "apple-lit", layout)
    vision, text = aimv2_np.Aimv2VisionModel.from_pretrained(folder), aimv2_np.Aimv2TextModel.from_pretrained(folder)
    close(vision(inputs["pixel_values"]).pooler_output, expected["vision_pooler_output"])
    close(text(inputs["input_ids"]).pooler_output, expected["text_pooler_output"])


def test_causality_is_what_makes_the_difference(tmp_path):
    """Transformers drops causality for a mask of all ones: there these logits differ from Apple's by 2.84."""
    inputs, expected = recorded("apple-lit")
    model = aimv2_np.load(folder_of(tmp_path, "apple-lit", "apple"))
    ones = np.ones_like(inputs["attention_mask"])
    logits = model(inputs["input_ids"], inputs["pixel_values"], ones).logits_per_text
    close(logits, expected["logits_per_text"])
    free = model(inputs["input_ids"], inputs["pixel_values"], ones, causal=False).logits_per_text
    np.testing.assert_allclose(np.abs(free - expected["logits_per_text"]).max(), 2.84, atol=0.005)


@pytest.mark.parametrize("dtype", DTYPES)
def test_timm(tmp_path, dtype):
    inputs, expected = recorded("timm")
    state = aimv2_np.load(folder_of(tmp_path, "timm", "timm"), dtype=dtype)(inputs["pixel_values"]).last_hidden_state
    close(state, expected["last_hidden_state"], "timm")
    close(state.mean(axis=1), expected["mean_pooled"], "timm")


@pytest.mark.parametrize(("name", "layout"), [pair for pair in ALL if pair[1] in ("mlx", "flax")])
def test_the_same_weights_give_the_same_bits_whatever_the_layout(tmp_path, name, layout):
    inputs, _ = recorded(name)
    outputs = [
        aimv2_np.load(folder_of(tmp_path / place, name, stored))(**inputs)
        for place, stored in (("one", layout), ("other", "apple"))
    ]
    for field in outputs[0]:
        if isinstance(outputs[0][field], np.ndarray):
            np.testing.assert_array_equal(outputs[0][field], outputs[1][field])
