"""The vision tower as its equation is written: one part after the other."""

import numpy as np

from aimv2_np import textbook, trace
from aimv2_np.models import skeleton
from aimv2_np.network.view import EVERYONE, Packed, Padded
from tests.support.models import pixels, randomized, vision_config


def tower(**changes):
    empty = skeleton.vision_tower(vision_config(**changes))
    return randomized(empty.map(lambda path, place: np.zeros(place.shape)))


def test_from_pixels_to_outputs():
    network, x = tower(), pixels(2).astype(np.float64)
    with textbook():
        tokens = network.embeddings.rms_norm(network.embeddings.patch_embed(x))
        tokens = tokens + network.embeddings.position_embedding.weight
        for layer in network.encoder.layers:
            tokens = tokens + layer.attention(layer.rms_norm1(tokens))
            tokens = tokens + layer.ffn(layer.rms_norm2(tokens))
        tokens = network.rms_norm(tokens)
        output = network(x)
        np.testing.assert_array_equal(output.last_hidden_state, tokens)
        np.testing.assert_array_equal(output.pooler_output, network.head(tokens))


def test_the_view_reaches_layers_and_head():
    network, x = tower(), pixels(1).astype(np.float64)
    keys = np.ones((1, 9), int)
    keys[0, 8] = 0
    changed = x.copy()
    changed[..., -4:, -4:] += 1  # the last patch, which is hidden
    seen, other = network(x, Padded(keys)), network(changed, Padded(keys))
    np.testing.assert_allclose(seen.last_hidden_state[:, :8], other.last_hidden_state[:, :8], rtol=1e-12)
    np.testing.assert_allclose(seen.pooler_output, other.pooler_output, rtol=1e-12)
    assert not np.allclose(network(x).pooler_output, network(changed).pooler_output)


def test_a_pack_is_its_images_one_by_one():
    network = tower(is_native=True)
    images = [pixels(1, 8, 12).astype(np.float64), pixels(1, 16, 4, seed=1).astype(np.float64)]
    rows = [network.embeddings(image) for image in images]
    view = Packed(tuple(row.shape[1] for row in rows))
    packed = network.encode(np.concatenate(rows, axis=1), view)
    for (_, own), image, pooled in zip(view.slices(), images, packed.pooler_output, strict=True):
        alone = network(image, EVERYONE)
        np.testing.assert_allclose(packed.last_hidden_state[:, own], alone.last_hidden_state, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(pooled, alone.pooler_output[0], rtol=1e-9, atol=1e-11)


def test_without_a_head_nothing_is_pooled():
    network = tower(use_head=False)
    with trace(network) as activations:
        output = network(pixels(1).astype(np.float64))
    assert output.pooler_output is None
    assert "last_hidden_state" in activations
    assert "pooler_output" not in activations
