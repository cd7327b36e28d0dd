"""From a configuration to places for arrays: names, shapes and what they start from."""

import pytest

from aimv2_np import Aimv2Config
from aimv2_np.models import skeleton
from tests.support.models import text_config, vision_config


def test_linear():
    module = skeleton.linear(3, 5, bias=True, std=0.5)
    assert (module.weight.shape, module.weight.std) == ((5, 3), 0.5)
    assert (module.bias.shape, module.bias.fill, module.bias.std) == ((5,), 0.0, 0.0)
    assert skeleton.linear(3, 5, bias=False, std=0.5).bias is None


def test_embedding_and_norm():
    table, gain = skeleton.embedding(7, 3, 0.5).weight, skeleton.rms_norm(text_config()).weight
    assert (table.shape, table.fill, table.std) == ((7, 3), 0.0, 0.5)
    assert (gain.shape, gain.fill, gain.std) == ((12,), 1.0, 0.0)


def test_attention():
    module = skeleton.encoder(text_config(qkv_bias=True)).layers[0].attention
    names = [f"{p}_proj.{kind}" for p in ("q", "k", "v", "out") for kind in ("weight", "bias")]
    assert list(module.state_dict()) == names
    assert {place.shape for place in module.state_dict().values()} == {(12, 12), (12,)}
    assert len(skeleton.encoder(text_config()).layers[0].attention.state_dict()) == 4


def test_patches_of_any_shape():
    embeddings = skeleton.vision_tower(vision_config(patch_size=(2, 4), image_size=8)).embeddings
    assert embeddings.patch_embed.weight.shape == (16, 3, 2, 4)
    assert embeddings.grid == (4, 2)
    assert embeddings.position_embedding.weight.shape == (8, 16)
    assert skeleton.vision_tower(vision_config(is_native=True)).embeddings.position_embedding is None


def test_two_towers_need_a_head():
    with pytest.raises(ValueError, match="use_head is False"):
        skeleton.aimv2(Aimv2Config(vision_config=vision_config(use_head=False), text_config=text_config()))
