import numpy as np
import pytest

from aimv2_np import Aimv2Processor
from aimv2_np.viz import (
    attention_rollout,
    caption_contributions,
    caption_similarity,
    draw_explanation,
    explain,
    patch_attention,
    patch_similarity,
    pooling_attention,
)
from aimv2_np.viz import explanation as module
from tests.support.pictures import photo

CAPTIONS = ["a cat", "$ a dog"]


def test_it_is_what_the_single_functions_say(loaded):
    model, processor = loaded
    found = explain(model, processor, photo(20, 30), CAPTIONS)
    inputs = processor(images=photo(20, 30), text=CAPTIONS, padding=True)
    output = model(**inputs)
    assert found.grid == (2, 3)
    assert found.colors.shape == (16, 24, 3)
    np.testing.assert_allclose(found.tokens, output.vision_model_output.last_hidden_state[0], atol=1e-5)
    expected = pooling_attention(model, inputs["pixel_values"])[0].ravel()
    np.testing.assert_allclose(found.pooling.mean(axis=0), expected, rtol=1e-5)
    np.testing.assert_allclose(found.similarity.reshape(2, 2, 3), caption_similarity(model, **inputs)[0], atol=1e-6)
    parts = caption_contributions(model, **inputs)[0]
    np.testing.assert_allclose(found.contributions.reshape(2, 2, 3), parts, atol=1e-6)
    np.testing.assert_allclose(found.cosines, (output.image_embeds @ output.text_embeds.T)[0], atol=1e-6)
    e = np.exp(output.logits_per_image[0] - output.logits_per_image.max())
    np.testing.assert_allclose(found.probabilities, e / e.sum(), rtol=1e-5)


def test_a_vision_tower_alone(native):
    model, processor = native
    layers = []
    found = explain(model, processor, photo(9, 9), take=lambda layer, q, k: layers.append((layer, q.shape, k.shape)))
    assert found.grid == (1, 1)
    assert found.pooling is None
    assert found.captions == ()
    assert found.similarity.shape == (0, 1)
    assert layers == [(0, (1, 2, 1, 8), (1, 2, 1, 8)), (1, (1, 2, 1, 8), (1, 2, 1, 8))]


def test_what_does_not_fit(loaded, native, monkeypatch):
    model, processor = loaded
    with pytest.raises(ValueError, match="both towers"):
        explain(*native, photo(24, 24), CAPTIONS)
    with pytest.raises(ValueError, match="tokenizer"):
        explain(model, processor.image_processor, photo(24, 24), CAPTIONS)
    with pytest.raises(ValueError, match="tokenizer"):
        explain(model, Aimv2Processor(image_processor=processor.image_processor), photo(24, 24), CAPTIONS)
    with pytest.raises(ValueError, match="expected a list"):
        explain(model, processor, photo(24, 24), "a cat")
    with pytest.raises(ValueError, match="blank"):
        explain(model, processor, photo(24, 24), ["a cat", " "])
    with pytest.raises(ValueError, match="smaller than one 8x8 patch"):
        explain(*native, photo(7, 30))
    with pytest.raises(ValueError, match="vision tower"):
        explain(model.text_model, processor, photo(24, 24))
    monkeypatch.setattr(module, "MAX_PATCHES", 5)
    with pytest.raises(ValueError, match="2 x 3 patches"):
        explain(model, processor, photo(24, 24))


@pytest.mark.usefixtures("matplotlib")
def test_the_sheet(loaded):
    model, processor = loaded
    found, figure = draw_explanation(model, processor, photo(20, 30), CAPTIONS, (0, 2), 0)
    panels = {ax.get_title(): ax for ax in figure.axes if ax.get_xlabel() == "patch column"}
    percent = [f"{100 * it:.1f} %" for it in found.probabilities]
    assert list(panels) == [
        "patch 0, 2", "features as colours", "patches like it", "layer 0, mean of the heads", "rollout",
        "the pooling head", f"a cat ({percent[0]})", f"$ a dog ({percent[1]})",
    ]  # fmt: skip
    pixels = processor(images=photo(20, 30))["pixel_values"]
    weights = patch_attention(model, pixels, (0, 2), 0)[0].mean(axis=0)
    expected = {
        "patches like it": patch_similarity(model, pixels, (0, 2))[0],
        "layer 0, mean of the heads": 6 * weights,
        "rollout": 6 * attention_rollout(model, pixels)[0, 2].reshape(2, 3),
        "the pooling head": 6 * pooling_attention(model, pixels)[0],
        f"a cat ({percent[0]})": found.contributions[0].reshape(2, 3),
    }
    for title, it in expected.items():
        np.testing.assert_allclose(np.asarray(panels[title].images[1].get_array()), it, rtol=1e-4, atol=1e-6)
    figure.canvas.draw()


@pytest.mark.usefixtures("matplotlib")
def test_the_sheet_of_a_vision_tower_alone(native):
    found, figure = draw_explanation(*native, photo(24, 50), head=1)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["patch 1, 3", "features as colours", "patches like it", "layer 1, head 1", "rollout"]
    assert found.grid == (3, 6)
    for size in ((8, 8), (8, 400), (400, 8)):  # one patch, one row, one column
        draw_explanation(*native, photo(*size)).figure.canvas.draw()
    for wrong, message in (({"head": 2}, "head is 2"), ({"layer": 5}, "layer is 5"), ({"patch": (3, 0)}, "patch is 3")):
        with pytest.raises(ValueError, match=message):
            draw_explanation(*native, photo(24, 50), **wrong)
