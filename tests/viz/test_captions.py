import numpy as np
import pytest

from aimv2_np import Aimv2Model
from aimv2_np.viz import (
    caption_contributions,
    caption_similarity,
    draw_caption_contributions,
    draw_caption_similarity,
    project_patches,
)
from tests.support.pictures import photo

CAPTIONS = ["a cat", "a dog on a chair"]


@pytest.fixture
def inputs(loaded):
    return loaded[1](images=[photo(20, 30), photo(31, 17, seed=1)], text=CAPTIONS, padding=True)


@pytest.fixture
def model(loaded):
    """With a bias in the head, which a new model has not."""
    model = loaded[0].map(lambda _, array: array.copy())
    model.vision_model.head.output_proj.bias[:] = np.random.default_rng(1).normal(size=16)
    return model


def test_the_projection_is_the_head_looking_at_one_patch(model, inputs):
    """A picture of which the head gets a single token has that token's vector."""
    tokens = model.vision_model(inputs["pixel_values"]).last_hidden_state
    projected = project_patches(model, tokens)
    for n in range(6):
        alone = model.visual_projection(model.vision_model.head(tokens[:, n : n + 1]))
        np.testing.assert_allclose(projected[:, n], alone, rtol=1e-4, atol=1e-5)  # the same sums in another order


def test_where_attention_is_even_the_mean_of_patches_is_the_picture(model, inputs):
    model.vision_model.head.k_proj.weight[:] = 0
    tokens = model.vision_model(inputs["pixel_values"]).last_hidden_state
    features = model.get_image_features(inputs["pixel_values"])
    np.testing.assert_allclose(project_patches(model, tokens).mean(axis=1), features, rtol=1e-4, atol=1e-5)


def test_similarity_is_the_cosine_with_each_caption(model, inputs):
    fits = caption_similarity(model, **inputs)
    assert fits.shape == (2, 2, 2, 3)
    patches = project_patches(model, model.vision_model(inputs["pixel_values"]).last_hidden_state).astype(np.float64)
    texts = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).astype(np.float64)
    expected = np.einsum("bne,le->bln", patches, texts)
    expected /= np.linalg.norm(patches, axis=2)[:, None] * np.linalg.norm(texts, axis=1)[:, None]
    np.testing.assert_allclose(fits.reshape(2, 2, 6), expected, atol=1e-6)  # float32: a few ε


def test_contributions_add_up_to_the_picture_s_cosine(model, inputs):
    parts = caption_contributions(model, **inputs)
    output = model(**inputs)
    assert parts.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(parts.sum(axis=(2, 3)), output.image_embeds @ output.text_embeds.T, atol=1e-6)


def test_a_patch_without_attention_adds_nothing_but_its_share_of_the_bias(loaded, inputs):
    model = loaded[0].map(lambda _, array: array.copy())  # no bias
    head = model.vision_model.head
    tokens = model.vision_model(inputs["pixel_values"]).last_hidden_state
    # A query along the keys of patch 2 of the first picture, so strong that no other is looked at.
    head.k_proj.weight[:] = np.eye(16)
    head.cls_token[:] = 1e3 * np.sign(tokens[0, 2])
    scores = (tokens[0].reshape(6, 2, 8) * head.cls_token.reshape(2, 8)).sum(axis=2)
    winners = set(scores.argmax(axis=0).tolist())
    parts = caption_contributions(model, **inputs)[0].reshape(2, 6)
    assert set(np.flatnonzero(abs(parts).max(axis=0) > 1e-6).tolist()) == winners


def test_models_without_captions(native, inputs):
    with pytest.raises(ValueError, match="both towers"):
        caption_similarity(native[0], **inputs)
    with pytest.raises(ValueError, match="both towers"):
        caption_contributions(native[0], **inputs)


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize(
    ("draw", "compute"),
    [(draw_caption_similarity, caption_similarity), (draw_caption_contributions, caption_contributions)],
)
def test_the_drawings(loaded, draw, compute):
    model, processor = loaded
    captions = ["$ a cat", "a very long caption that is told in many more words than fit"]
    maps, figure = draw(model, processor, photo(20, 30), captions)
    inputs = processor(images=photo(20, 30), text=captions, padding=True)
    np.testing.assert_array_equal(maps, compute(model, **inputs)[0])
    _, first, second = (ax for ax in figure.axes if ax.get_xlabel() == "patch column")
    assert first.get_title() == "$ a cat"
    assert second.get_title() == "a very long caption that is t…"
    assert first.images[1].get_clim() == second.images[1].get_clim()  # one scale for all
    if draw is draw_caption_contributions:
        low, high = first.images[1].get_clim()
        assert low == pytest.approx(-high)
    figure.canvas.draw()
    for wrong in ([], "a cat"):
        with pytest.raises(ValueError, match="captions"):
            draw(model, processor, photo(20, 30), wrong)


def test_in_half_precision(loaded, inputs):
    half: Aimv2Model = loaded[0].to(dtype="float16")
    parts = caption_contributions(half, **inputs)
    np.testing.assert_allclose(parts, caption_contributions(loaded[0], **inputs), atol=0.02)  # float16: 11 bits
