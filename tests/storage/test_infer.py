"""aimv2_np/storage/infer.py: shapes say what config.json does not."""

import pytest

from aimv2_np import (
    Aimv2Config,
    Aimv2Model,
    Aimv2TextConfig,
    Aimv2TextModel,
    Aimv2VisionConfig,
    Aimv2VisionModel,
    CheckpointError,
    load,
)
from aimv2_np.config import config_from_dict
from aimv2_np.storage.infer import complete
from aimv2_np.storage.released import RELEASED
from tests.support.layouts import ALL, folder_of

MODELS = {Aimv2Config: Aimv2Model, Aimv2VisionConfig: Aimv2VisionModel, Aimv2TextConfig: Aimv2TextModel}
SMALL = {"hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 11, "num_attention_heads": 2}
VISION = Aimv2VisionConfig(**SMALL, image_size=12, patch_size=4, num_channels=1, qkv_bias=True, use_head=False)
TEXT = Aimv2TextConfig(**SMALL, vocab_size=49408, max_position_embeddings=5, mlp_bias=True)
CONFIGS = [
    VISION,
    Aimv2VisionConfig(**SMALL, image_size=(12, 18), patch_size=(4, 6), mlp_bias=True),
    Aimv2VisionConfig(**SMALL, is_native=True),
    Aimv2VisionConfig(**SMALL, is_native=True, patch_size=300, image_size=300),
    TEXT,
    Aimv2Config(vision_config=Aimv2VisionConfig(**SMALL), text_config=TEXT, projection_dim=3),
]


def shapes_of(config):
    return {name: tuple(p.shape) for name, p in MODELS[type(config)].skeleton(config).state_dict().items()}


@pytest.mark.parametrize("config", CONFIGS)
def test_all_but_the_heads_is_told_by_shapes(config):
    shapes = shapes_of(config)
    heads = {"num_attention_heads": 2}
    given = {"vision_config": heads, "text_config": heads} if isinstance(config, Aimv2Config) else heads
    values = complete(given, shapes, default_heads=False)
    assert config_from_dict(values) == config


@pytest.mark.parametrize("it", RELEASED, ids=lambda it: it.id)
def test_of_a_released_checkpoint_nothing_need_be_said(it):
    config = config_from_dict(complete({}, shapes_of(it.config()), default_heads=False))
    assert config == it.config()


def test_what_config_json_says_is_kept():
    given = {"hidden_size": 9, "use_bias": True, "num_attention_heads": 3, "image_size": 14, "use_head": True}
    values = complete(given, shapes_of(VISION), default_heads=False)
    assert given.items() <= values.items()
    assert "mlp_bias" not in values
    assert values["num_hidden_layers"] == 11


def test_heads_of_other_sizes_have_to_be_said():
    with pytest.raises(CheckpointError, match=r"^num_attention_heads is absent.* hidden_size 8 with .* large.*add it"):
        complete({}, shapes_of(VISION), default_heads=False)
    heads = {"vision_config": {"num_attention_heads": 2}}
    with pytest.raises(CheckpointError, match=r"^text_config\.num_attention_heads is absent"):
        complete(heads, shapes_of(CONFIGS[-1]), default_heads=False)
    # In a file of Transformers an absent number is the default.
    assert "num_attention_heads" not in complete({}, shapes_of(VISION), default_heads=True)


def test_a_grid_that_is_no_square_has_to_be_said():
    config = Aimv2VisionConfig(**SMALL, image_size=(8, 12), patch_size=4)
    with pytest.raises(CheckpointError, match=r"image_size is absent, and 6 positions are no square grid.*add it"):
        complete({"num_attention_heads": 2}, shapes_of(config), default_heads=False)
    values = complete({"num_attention_heads": 2, "image_size": [8, 12]}, shapes_of(config), default_heads=False)
    assert config_from_dict(values) == config


def test_unknown_tensors_say_nothing():
    assert complete({"a": 1}, {"x": (2,)}, default_heads=True) == {"a": 1}


@pytest.mark.parametrize(
    "shapes",
    [
        {"embeddings.patch_embed.weight": ()}, {"embeddings.patch_embed.weight": (0, 0, 0, 0)},
        {"embeddings.patch_embed.weight": (4, 3, 0, 2), "embeddings.position_embedding.weight": ()},
        {"embeddings.token_embedding.weight": (), "encoder.layers.x.y.z": ()},
        {"embeddings.patch_embed.weight": (4, 3, 2**40, 2**40), "embeddings.position_embedding.weight": (2**62, 4)},
    ],
)  # fmt: skip
def test_shapes_that_make_no_sense_are_a_value_error_at_worst(shapes):
    with pytest.raises(ValueError, match=r"\w+ (is|belongs)"):
        config_from_dict(complete({"num_attention_heads": 2, "image_size": 0}, shapes, default_heads=False))


@pytest.mark.parametrize(("network", "layout"), [pair for pair in ALL if pair[0] != "apple-lit"])
def test_a_checkpoint_loads_without_what_can_be_inferred(tmp_path, network, layout):
    lacking = dict.fromkeys(("hidden_size", "intermediate_size", "num_hidden_layers", "patch_size", "num_channels",
                             "image_size", "use_bias", "qkv_bias", "is_native", "use_head", "model_type"))  # fmt: skip
    if layout == "timm":
        lacking = {"model_args": {"num_heads": 4}, "pretrained_cfg": {}}
    whole = load(folder_of(tmp_path / "whole", network, layout))
    bare = load(folder_of(tmp_path / "bare", network, layout, **lacking))
    if not whole.config.is_native:
        assert bare.config == whole.config
    assert bare.num_parameters() == whole.num_parameters()


def test_the_error_names_the_file(tmp_path):
    folder = folder_of(tmp_path, "apple-native", "flax", num_attention_heads=None)
    with pytest.raises(CheckpointError, match=rf"^config\.json of {folder}: num_attention_heads is absent"):
        load(folder)
