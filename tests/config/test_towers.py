"""aimv2_np/config/towers.py"""

import dataclasses

import pytest

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig

# As Transformers writes them into config.json.
VISION_DEFAULTS = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 24,
    "num_attention_heads": 8,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-5,
    "qkv_bias": False,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "use_head": True,
    "is_native": False,
    "final_norm": True,
}
TEXT_DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "max_position_embeddings": 77,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "eos_token_id": 49407,
    "rms_norm_eps": 1e-5,
    "qkv_bias": False,
    "mlp_bias": False,
    "initializer_range": 0.02,
}
TOWERS = [(Aimv2VisionConfig, VISION_DEFAULTS), (Aimv2TextConfig, TEXT_DEFAULTS)]


@pytest.mark.parametrize(("kind", "defaults"), TOWERS)
def test_defaults_and_the_order_of_the_fields(kind, defaults):
    assert {**dataclasses.asdict(kind()), "extra": None} == {**defaults, "extra": None}
    assert kind(*defaults.values()) == kind()
    assert kind().head_dim == 128


def test_grids_of_rectangles_drop_what_fills_no_patch():
    config = Aimv2VisionConfig(image_size=(480, 640), patch_size=14)
    assert (config.image_shape, config.patch_shape, config.grid) == ((480, 640), (14, 14), (34, 45))
    config = Aimv2VisionConfig(image_size=100, patch_size=[7, 30])
    assert (config.image_shape, config.patch_shape, config.grid) == ((100, 100), (7, 30), (14, 3))


@pytest.mark.parametrize(
    ("kind", "changes", "name"),
    [
        *[
            (kind, {name: value}, name)
            for kind, defaults in TOWERS
            for name, default in defaults.items()
            for value in (None, "x", -1, [], float("nan"), {}, True if type(default) is not bool else 1)
        ],
        (Aimv2VisionConfig, {"hidden_size": 100, "num_attention_heads": 3}, "hidden_size"),
        (Aimv2TextConfig, {"hidden_size": 100, "num_attention_heads": 7}, "hidden_size"),
        (Aimv2VisionConfig, {"hidden_size": 6, "num_attention_heads": 2, "is_native": True}, "hidden_size"),
        (Aimv2VisionConfig, {"image_size": 13}, "image_size"),
        (Aimv2VisionConfig, {"image_size": (28, 13)}, "image_size"),
        (Aimv2VisionConfig, {"image_size": 2**20, "patch_size": 1}, "image_size"),
        (Aimv2VisionConfig, {"num_hidden_layers": 10**6}, "num_hidden_layers"),
        (Aimv2VisionConfig, {"rms_norm_eps": 0.0}, "rms_norm_eps"),
        (Aimv2VisionConfig, {"rms_norm_eps": 1e-60}, "rms_norm_eps"),
        (Aimv2VisionConfig, {"attention_dropout": 1.5}, "attention_dropout"),
        (Aimv2TextConfig, {"eos_token_id": 49408}, "eos_token_id"),
        (Aimv2TextConfig, {"vocab_size": 100}, "eos_token_id"),
        (Aimv2TextConfig, {"eos_token_id": [49407]}, "eos_token_id"),
    ],
)
def test_nonsense_names_the_field_first(kind, changes, name):
    for make in (lambda: kind(**changes), lambda: kind.from_dict(changes)):
        with pytest.raises(ValueError, match=rf"^{name} .*expected") as raised:
            make()
        assert type(raised.value) is ValueError
    with pytest.raises(ValueError, match=rf"^{kind.key}\.{name} .*expected"):
        Aimv2Config.from_dict({kind.key: changes})


@pytest.mark.parametrize(("kind", "defaults"), TOWERS)
def test_a_tower_is_taken_out_of_both(kind, defaults):
    both = Aimv2Config(
        vision_config=Aimv2VisionConfig(hidden_size=64, extra={"a": 1}),
        text_config=Aimv2TextConfig(hidden_size=48, extra={"a": 1}),
    )
    tower = kind.from_dict(both.to_dict())
    assert tower == getattr(both, kind.key)
    assert tower.extra == {"a": 1}


def test_the_biases_of_the_original_release_are_ours():
    assert Aimv2VisionConfig.from_dict({"use_bias": True}).mlp_bias is True
    written = Aimv2VisionConfig.from_dict({"use_bias": True}).to_dict()
    assert written["mlp_bias"] is True
    assert "use_bias" not in written
    with pytest.raises(ValueError, match="mlp_bias is 3"):
        Aimv2TextConfig.from_dict({"use_bias": 3})


def test_our_own_name_wins_over_an_alias_which_is_kept():
    config = Aimv2TextConfig.from_dict({"use_bias": True, "mlp_bias": False})
    assert config.mlp_bias is False
    assert config.to_dict()["use_bias"] is True


@pytest.mark.parametrize("model_type", ["aimv2", "", None, "aimv2_vision_model"])
def test_vision_configurations_of_all_releases_are_understood(model_type):
    config = Aimv2VisionConfig.from_dict({"model_type": model_type, "image_size": 448})
    assert config == Aimv2VisionConfig(image_size=448)
    assert config.to_dict()["model_type"] == "aimv2_vision_model"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Aimv2VisionConfig, {"model_type": "clip_vision_model"}, r"^model_type is 'clip_vision_model'; expected"),
        (Aimv2VisionConfig, {"model_type": "aimv2_text_model"}, "^model_type"),
        (Aimv2TextConfig, {"model_type": "aimv2_vision_model"}, "^model_type"),
        (Aimv2TextConfig, {"model_type": 7}, "^model_type"),
        (Aimv2TextConfig, {"model_type": "aimv2", "image_size": 224}, "image_size belongs to an Aimv2VisionConfig"),
        (Aimv2VisionConfig, {"vocab_size": 99}, "vocab_size belongs to an Aimv2TextConfig"),
        (Aimv2VisionConfig, {"model_type": "clip", "vision_config": {}}, "^model_type"),
        (Aimv2VisionConfig, {"vision_config": {"model_type": "clip_vision_model"}}, r"^vision_config\.model_type"),
        (Aimv2VisionConfig, {"vision_config": 3}, "^vision_config is 3; expected a dictionary"),
        (Aimv2VisionConfig, {"vision_config": {3: 4}}, "^vision_config"),
        (Aimv2VisionConfig, [1], "^the configuration is"),
    ],
)
def test_other_kinds_of_configuration_are_refused(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind.from_dict(values)
