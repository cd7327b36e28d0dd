"""Inputs that look right and are not quite: subclasses of arrays, lists of unequal pictures, masks without ids."""

import numpy as np
import pytest

from tests.support.models import both_model, pixels, text_model, tokens, vision_model


def test_a_matrix_is_computed_as_an_array():
    model, ids = text_model(), tokens(2, 3)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(ids)
    expected = model(ids, np.ones((2, 3))).last_hidden_state
    np.testing.assert_array_equal(model(matrix, np.ones((2, 3))).last_hidden_state, expected)


def test_a_mapped_file_is_computed_as_an_array(tmp_path):
    model, plain = vision_model(), pixels()
    np.save(tmp_path / "pixels.npy", plain)
    output = model(np.load(tmp_path / "pixels.npy", mmap_mode="r")).last_hidden_state
    assert type(output) is np.ndarray
    np.testing.assert_array_equal(output, model(plain).last_hidden_state)


def test_a_masked_array_is_refused():
    with pytest.raises(ValueError, match="pixel_values is a masked array"):
        vision_model()(np.ma.masked_greater(pixels(), 0))


def test_lists_of_different_shapes_that_are_no_pictures_are_refused():
    with pytest.raises(ValueError, match=r"pixel_values is a list of arrays of different shapes.*\(C, h, w\)"):
        vision_model(is_native=True)([pixels(1), pixels(1, width=18)])


def test_a_mask_without_ids_is_refused():
    with pytest.raises(ValueError, match="attention_mask is given without input_ids"):
        both_model()(pixel_values=pixels(), attention_mask=np.ones((1, 3)))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_pooled_row_is_the_texts_own_end_not_padding(side):
    """CLIP pads with the end-of-text token; padding on the left must not be taken for the end."""
    model = text_model()
    end = model.config.eos_token_id
    text, pad = [1, 2, 3, end], [end, end]
    ids = np.array([pad + text if side == "left" else text + pad])
    mask = np.array([[0, 0, 1, 1, 1, 1] if side == "left" else [1, 1, 1, 1, 0, 0]])
    output = model(ids, mask)
    np.testing.assert_array_equal(output.pooler_output[0], output.last_hidden_state[0, 5 if side == "left" else 3])


def test_the_only_end_counts_even_in_padding():
    model = text_model()
    output = model(np.array([[1, 2, model.config.eos_token_id, 3]]), np.array([[1, 1, 0, 0]]))
    np.testing.assert_array_equal(output.pooler_output[0], output.last_hidden_state[0, 2])


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_embeddings_have_length_one_whatever_the_scale_of_the_projection(scale):
    model = both_model()
    model.visual_projection.weight = model.visual_projection.weight * np.float32(scale)
    embeds = model(pixel_values=pixels()).image_embeds
    np.testing.assert_allclose(np.linalg.norm(embeds, axis=1), 1, rtol=1e-6)


def test_a_damaged_temperature_is_reported():
    model = both_model()
    model.logit_scale = np.array(np.nan, np.float32)
    embeds = np.eye(2, model.config.projection_dim, dtype=np.float32)
    with pytest.raises(ValueError, match="Aimv2Model: the weight logit_scale holds NaN"):
        model.logits(embeds, embeds)


def test_positions_are_no_keys_of_an_output():
    output = vision_model()(pixels())
    assert "last_hidden_state" in output
    assert 0 not in output
    assert "hidden_states" not in output
