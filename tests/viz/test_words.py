"""What a page keeps of the words of captions."""

import numpy as np

from aimv2_np.viz import text_attention
from aimv2_np.viz.words import words_of

CAPTIONS = ["a photo of a cat", "two dogs"]


def test_words_are_the_text_tower_s_attention(loaded):
    model, processor = loaded
    for words, caption in zip(words_of(model, processor, CAPTIONS, 200_000), CAPTIONS, strict=True):
        expected = text_attention(model, processor(text=[caption])["input_ids"])[0]  # (H, T, T)
        assert words.tokens[1:-1] == caption.split()
        again = words.values / 255 * words.tops[..., None]
        np.testing.assert_allclose(again, expected, atol=0.51 / 255)
        assert words.computations.choice == ((0,), (0, 1), 2)


def test_words_of_as_many_captions_as_fit(loaded):
    model, processor = loaded
    # 7 and 4 tokens, 2 heads: 2 · 7 · (4 + 7) + 24 · 7 = 322 bytes, and 2 · 4 · (4 + 4) + 24 · 4 = 160.
    assert len(words_of(model, processor, CAPTIONS * 50, 3_000)) == 12
    (one,) = words_of(model, processor, CAPTIONS, 330)
    assert one.computations.choice.layers == ()
    assert words_of(model, processor, CAPTIONS, 0) == []
