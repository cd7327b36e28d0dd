import numpy as np
import pytest

from aimv2_np import trace
from aimv2_np.viz import caption_relevance, caption_saliency, draw_caption_relevance, draw_caption_saliency, relevance
from tests.support.models import both_model, pixels, tokens
from tests.support.pictures import photo

CAPTIONS = ["a cat", "a dog on a chair"]


@pytest.fixture(scope="module")
def inputs(loaded):
    return loaded[1](images=[photo(20, 30), photo(31, 17, seed=1)], text=CAPTIONS, padding=True)


@pytest.fixture(scope="module")
def model(loaded):
    return loaded[0].to(dtype="float64")


def cosines(model, inputs, pixels):
    output = model(**{**inputs, "pixel_values": pixels})
    return output.image_embeds @ output.text_embeds.T


def test_saliency_is_the_slope_of_the_cosine_when_a_patch_is_scaled(model, inputs):
    """Its pixels are whitened, so that at 0 it has the processor's mean colour."""
    found, pixels, step = caption_saliency(model, **inputs), inputs["pixel_values"].astype(np.float64), 1e-5
    assert found.shape == (2, 2, 2, 3)
    ph, pw = pixels.shape[2] // 2, pixels.shape[3] // 3
    for row, column in np.ndindex(2, 3):
        values = []
        for factor in (1 + step, 1 - step):
            scaled = pixels.copy()
            scaled[:, :, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] *= factor
            values.append(cosines(model, inputs, scaled))
        slope = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(found[:, :, row, column], slope, atol=1e-7)


def test_relevance_is_attention_rolled_out_by_what_is_gained_from_it(model, inputs):
    """By hand, for the second caption and each picture."""
    found = caption_relevance(model, **inputs)
    assert found.shape == (2, 2, 2, 3)
    text = model(**inputs).text_embeds[1]
    with trace(model, gradients=True, loss=lambda a: (a["image_embeds"] * text).sum()) as a:
        model(pixel_values=inputs["pixel_values"].astype(np.float64))
    names = [f"vision_model.encoder.layers.{i}.attention.probs" for i in range(len(model.vision_model.encoder.layers))]
    for picture in range(2):
        rolled = np.eye(6)
        for name in [*names, "vision_model.head.probs"]:
            probs, slopes = a[name][picture], a[f"gradient:{name}"][picture]
            gain = np.mean([np.maximum(p * g, 0) for p, g in zip(probs, slopes, strict=True)], axis=0)
            rolled = gain @ rolled if name.startswith("vision_model.head") else rolled + gain @ rolled
        np.testing.assert_allclose(found[picture, 1].ravel(), rolled[0], rtol=1e-10)
    assert found.min() >= 0


def test_they_change_nothing_and_are_the_same_again(model, inputs):
    before = model(**inputs).logits_per_text
    for compute in (caption_saliency, caption_relevance):
        np.testing.assert_array_equal(compute(model, **inputs), compute(model, **inputs))
    np.testing.assert_array_equal(model(**inputs).logits_per_text, before)


def test_pictures_of_too_many_patches_are_refused(model, inputs, monkeypatch):
    monkeypatch.setattr(relevance, "MAX_PATCHES", 5)
    with pytest.raises(
        ValueError, match=r"pixel_values are of 2 x 3 patches.*expected at most 5.*use caption_saliency"
    ):
        caption_relevance(model, **inputs)


@pytest.mark.parametrize("compute", [caption_saliency, caption_relevance])
def test_a_model_without_texts_is_refused(native, compute):
    with pytest.raises(ValueError, match=r"both towers"):
        compute(native[0], np.zeros((1, 3, 8, 8), np.float32), [[0]])


@pytest.mark.parametrize(
    ("draw", "compute"), [(draw_caption_saliency, caption_saliency), (draw_caption_relevance, caption_relevance)]
)
@pytest.mark.usefixtures("matplotlib")
def test_a_drawing_has_the_picture_and_a_map_for_each_caption(loaded, draw, compute):
    drawing = draw(*loaded, photo(20, 30), CAPTIONS)
    assert len([ax for ax in drawing.figure.axes if ax.images]) == 3
    given = loaded[1](images=[photo(20, 30)], text=CAPTIONS, padding=True)
    np.testing.assert_allclose(drawing.array, compute(loaded[0], **given)[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("compute", [caption_relevance, caption_saliency])
def test_pictures_of_another_size(model, inputs, compute):
    """Whose positions are interpolated, which is looked into too."""
    pixels = np.asarray(inputs["pixel_values"])[:1]
    tall = np.concatenate([pixels, pixels], axis=2)
    found = compute(model, tall, inputs["input_ids"], interpolate_pos_encoding=True)
    assert found.shape[2:] == (4, 3)
    assert np.isfinite(found).all()
    assert np.abs(found).sum(axis=(2, 3)).min() > 0


def test_relevance_of_a_model_in_bfloat16_is_refused():
    """Its weights are kept in bits that have no derivative."""
    model = both_model().to(dtype="bfloat16")
    with pytest.raises(ValueError, match=r"is an array of bfloat16; expected floats: .*model.to\(dtype='float32'\)"):
        caption_relevance(model, pixels(1), tokens(1))
