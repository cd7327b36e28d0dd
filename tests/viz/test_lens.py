import numpy as np
import pytest

from aimv2_np.viz import draw_lens, feature_lens, similarity_lens
from tests.support.pictures import photo

CAPTIONS = ["a cat", "$ a dog"]


def test_after_the_last_layer_it_is_the_model_s_answer(loaded):
    model, processor = loaded
    inputs = processor(images=[photo(20, 30), photo(31, 17, seed=1)], text=CAPTIONS, padding=True)
    lens = similarity_lens(model, **inputs)
    output = model(**inputs, output_hidden_states=True)
    assert lens.shape == (3, 2, 2)
    np.testing.assert_allclose(lens[-1], output.logits_per_image, rtol=1e-5, atol=1e-5)
    tower = model.vision_model
    early = model.visual_projection(tower.head(tower.rms_norm(output.vision_model_output.hidden_states[1])))
    early = early / np.linalg.norm(early, axis=1, keepdims=True)
    np.testing.assert_allclose(lens[1], model.logits(output.text_embeds, early).T, rtol=1e-5, atol=1e-5)


def test_features_end_where_they_end(loaded, native):
    for model, processor in (loaded, native):
        pixels = processor(images=[photo(24, 30)])["pixel_values"]
        lens = feature_lens(model, pixels)
        assert lens.shape == (3, 1)
        np.testing.assert_allclose(lens[-1], 1, rtol=1e-6)
        assert (lens[:-1] < 0.999).all()


def test_captions_need_both_towers(native, loaded):
    pixels = native[1](photo(24, 30))["pixel_values"]
    with pytest.raises(ValueError, match="both towers"):
        similarity_lens(native[0], pixels, **loaded[1](text=CAPTIONS, padding=True))


@pytest.mark.usefixtures("matplotlib")
def test_the_drawings(loaded, native):
    lens, figure = draw_lens(*loaded, photo(20, 30), CAPTIONS)
    lines = figure.axes[0].lines
    e = np.exp(lens - lens.max(axis=1, keepdims=True))
    np.testing.assert_allclose(lines[1].get_ydata(), (e / e.sum(axis=1, keepdims=True))[:, 1], rtol=1e-5)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == CAPTIONS
    figure.canvas.draw()
    lens, figure = draw_lens(*native, photo(20, 30))
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), lens)
    with pytest.raises(ValueError, match="both towers"):
        draw_lens(*native, photo(20, 30), CAPTIONS)
