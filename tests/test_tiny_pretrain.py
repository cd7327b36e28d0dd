"""How the tiny model's pre-training begins, and what its grey pictures say."""

import numpy as np

from aimv2_np import Aimv2Config, Aimv2Processor
from aimv2_np.data import tiny_model_path
from aimv2_np.data.world import COLORS
from aimv2_np.network.patches import cut, patch_embed
from aimv2_np.training import Pretrain
from tests.tools.tiny_pretrain import GreyWorld, TinyPretrain, whitening


def test_components_that_are_above_the_noise_become_equal():
    rng = np.random.default_rng(0)
    mixed = (
        rng.standard_normal((4, 5000, 6)) * np.array([100, 10, 5, 3, 1e-3, 1e-3]) @ np.linalg.qr(rng.random((6, 6)))[0]
    )
    weight, bias = whitening(mixed + 7, 6, noise=0.05)
    deviations = (mixed + 7) @ weight.T + bias
    np.testing.assert_allclose(deviations.mean(axis=(0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(deviations.std(axis=(0, 1)), [1, 1, 1, 1, 0, 0], atol=0.01)


def test_it_begins_with_whitened_patches_and_is_else_as_published():
    place = tiny_model_path()
    config, processor = Aimv2Config.from_pretrained(place), Aimv2Processor.from_pretrained(place)
    given = (config.vision_config, config.text_config, GreyWorld(8), processor)
    own, published = (kind(*given).network.state_dict() for kind in (TinyPretrain, Pretrain))
    changed = {path for path in own if not np.array_equal(own[path], published[path])}
    embeddings = "vision_model.embeddings."
    assert changed == {f"{embeddings}{name}" for name in (
        "patch_embed.weight", "patch_embed.bias", "position_embedding.weight",
    )}  # fmt: skip
    assert all(array.dtype == np.float32 for array in own.values())
    (pairs, _), weight = TinyPretrain(*given).batch(range(8)), own[f"{embeddings}patch_embed.weight"]
    patches = patch_embed(pairs.pixels, weight, own[f"{embeddings}patch_embed.bias"])
    assert 0.2 < patches.std() < 1.5
    assert cut(pairs.pixels, 8, 8).std() > 0


def test_grey_pictures_have_captions_without_colours():
    world = GreyWorld(40, grey=0.5)
    grey = 0
    for number in range(len(world)):
        picture, caption = world[number]
        pixels = np.asarray(picture)
        same = (pixels == pixels[:, :, :1]).all()
        grey += same
        assert same != any(color in caption.split() for color in COLORS)
        assert caption == world[number][1]
    assert 10 <= grey <= 30
