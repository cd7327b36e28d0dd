import numpy as np
import pytest

from aimv2_np.viz import draw_text_attention, text_attention

CAPTIONS = ["a photo of a cat", "two dogs"]


def test_a_token_looks_at_itself_and_at_what_stands_before_it(loaded):
    model, processor = loaded
    inputs = processor(text=CAPTIONS, padding=True)
    weights = text_attention(model, **inputs)
    length = inputs["input_ids"].shape[1]
    assert weights.shape == (2, 2, length, length)
    assert (weights[..., np.triu(np.ones((length, length), bool), 1)] == 0).all()
    assert (weights[0][..., np.tril(np.ones((length, length), bool))] > 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    shorter = int(inputs["attention_mask"][1].sum())
    assert (weights[1, :, :shorter, shorter:] == 0).all()  # padding
    np.testing.assert_array_equal(weights, model.text_model(**inputs, output_attentions=True).attentions[-1])


def test_the_tower_alone_and_models_without_one(loaded, native):
    model, processor = loaded
    inputs = processor(text=CAPTIONS[:1])
    np.testing.assert_array_equal(text_attention(model.text_model, **inputs), text_attention(model, **inputs))
    with pytest.raises(ValueError, match="text tower"):
        text_attention(native[0], **inputs)
    with pytest.raises(ValueError, match="layer is 1"):
        text_attention(model, **inputs, layer=1)


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing_has_the_tokens_at_both_axes(loaded):
    model, processor = loaded
    weights, figure = draw_text_attention(model, processor, "a $photo$")
    ax = figure.axes[0]
    tokens = [label.get_text() for label in ax.get_yticklabels()]
    assert tokens == ["<|startoftext|>", "a", "$", "photo", "$", "<|endoftext|>"]
    assert [label.get_text() for label in ax.get_xticklabels()] == tokens
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("looks at", "token")
    drawn = ax.images[0].get_array()
    np.testing.assert_allclose(drawn.filled(0), weights.mean(axis=0), rtol=1e-6)
    assert (drawn.mask == np.triu(np.ones((6, 6), bool), 1)).all()
    one = draw_text_attention(model, processor, "a photo", 0, 1)
    assert one.array.shape == (1, 4, 4)
    figure.canvas.draw()  # labels are no formulas
