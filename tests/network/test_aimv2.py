"""Both towers compared: unit vectors, and logits that are their scaled cosines."""

import numpy as np

from aimv2_np.models import skeleton
from tests.support.models import both_config, pixels, randomized, tokens


def network():
    empty = skeleton.aimv2(both_config())
    return randomized(empty.map(lambda path, place: np.zeros(place.shape)))


def test_from_both_inputs_to_logits():
    both, ids, images = network(), tokens(3, 5), pixels(2).astype(np.float64)
    found = both(ids, images)
    text = both.text_projection(both.text_model(ids).pooler_output)
    image = both.visual_projection(both.vision_model(images).pooler_output)
    text, image = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (text, image))
    scale = np.exp(np.clip(both.logit_scale, 0, np.log(both.max_logit_scale)))
    np.testing.assert_allclose(found.text_embeds, text, rtol=1e-12)
    np.testing.assert_allclose(found.image_embeds, image, rtol=1e-12)
    np.testing.assert_allclose(found.logits_per_text, scale * text @ image.T, rtol=1e-11)
    np.testing.assert_array_equal(found.logits_per_image, found.logits_per_text.T)


def test_one_of_the_two_alone():
    both = network()
    pooled = both.vision_model(pixels(2).astype(np.float64)).pooler_output
    alone = both.compare(None, pooled)
    assert alone.logits_per_text is None
    assert alone.text_embeds is None
    np.testing.assert_allclose(np.linalg.norm(alone.image_embeds, axis=-1), 1, rtol=1e-12)
