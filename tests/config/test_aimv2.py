"""aimv2_np/config/aimv2.py"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.config import (
    Aimv2Config,
    Aimv2TextConfig,
    Aimv2VisionConfig,
    config_from_dict,
    config_from_pretrained,
    kind_of,
)
from aimv2_np.errors import CheckpointError

# The configurations of the released image-text checkpoint, in the original release's form.
LIT = {
    "architectures": ["AIMv2Model"],
    "model_type": "aimv2",
    "projection_dim": 768,
    "max_logit_scale": 100.0,
    "torch_dtype": "float32",
    "vision_config": {"model_type": "aimv2", "use_bias": False, "projection_dropout": 0.0, "use_head": True},
    "text_config": {"hidden_size": 768, "vocab_size": 49408, "eos_token_id": 49407, "use_bias": False},
}


def test_defaults():
    config = Aimv2Config()
    assert config.vision_config == Aimv2VisionConfig()
    assert config.text_config == Aimv2TextConfig()
    assert (config.projection_dim, config.logit_scale_init_value, config.max_logit_scale) == (512, 2.6592, 100.0)
    assert Aimv2Config.from_dict({}) == config


def test_the_released_image_text_configuration():
    config = Aimv2Config.from_dict(LIT)
    assert config == Aimv2Config(projection_dim=768)
    assert config.extra == {"architectures": ["AIMv2Model"], "torch_dtype": "float32"}
    assert config.vision_config.extra == {"projection_dropout": 0.0}


@given(
    projection=st.integers(1, 4096),
    scale=st.floats(-10, 10),
    width=st.integers(1, 64),
    image=st.integers(14, 100) | st.tuples(st.integers(14, 100), st.integers(14, 100)),
    native=st.booleans(),
)
def test_round_trip_through_json(projection, scale, width, image, native):
    config = Aimv2Config(
        vision_config=Aimv2VisionConfig(hidden_size=8 * width, image_size=image, is_native=native),
        text_config=Aimv2TextConfig(hidden_size=6 * width),
        projection_dim=projection,
        logit_scale_init_value=scale,
    )
    again = Aimv2Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)
    assert again.to_dict() == config.to_dict()


def test_towers_may_be_objects_already_or_absent():
    text = Aimv2TextConfig(hidden_size=60)
    config = Aimv2Config.from_dict({"text_config": text, "vision_config": None})
    assert config == Aimv2Config(text_config=text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"projection_dim": 0}, r"^projection_dim is 0; expected an integer from 1"),
        ({"logit_scale_init_value": float("inf")}, "^logit_scale_init_value"),
        ({"max_logit_scale": 0}, "^max_logit_scale"),
        ({"vision_config": {"hidden_size": 0}}, r"^vision_config\.hidden_size is 0; expected"),
        ({"text_config": {"hidden_act": "gleu"}}, r"^text_config\.hidden_act is 'gleu'; expected one of"),
        ({"text_config": "x"}, "^text_config is 'x'"),
        ({"text_config": Aimv2VisionConfig()}, "^text_config"),
        ({"model_type": "clip"}, "^model_type is 'clip'"),
        ({"model_type": "aimv2", "image_size": 224}, "is an Aimv2VisionConfig; expected both towers"),
        ({"model_type": "aimv2_text_model"}, r"^model_type .*; aimv2_np\.load takes the class that fits"),
    ],
)
def test_nonsense_names_the_field_by_its_path(values, message):
    with pytest.raises(ValueError, match=message):
        Aimv2Config.from_dict(values)


def test_towers_must_be_configurations():
    with pytest.raises(ValueError, match=r"^vision_config"):
        Aimv2Config(vision_config={"hidden_size": 64})
    with pytest.raises(ValueError, match=r"^text_config"):
        Aimv2Config(text_config=Aimv2VisionConfig())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"model_type": "aimv2_vision_model"}, Aimv2VisionConfig),
        ({"model_type": "aimv2_text_model"}, Aimv2TextConfig),
        ({"model_type": "aimv2"}, Aimv2Config),
        ({"model_type": "aimv2", "architectures": ["AIMv2Model"], "image_size": 224}, Aimv2VisionConfig),
        ({"model_type": "aimv2", "vocab_size": 99, "eos_token_id": 98}, Aimv2TextConfig),
        (LIT, Aimv2Config),
        ({"vision_config": {}}, Aimv2Config),
        ({"patch_size": 14}, Aimv2VisionConfig),
        (Aimv2Config().to_dict(), Aimv2Config),
        (Aimv2VisionConfig().to_dict(), Aimv2VisionConfig),
        (Aimv2TextConfig().to_dict(), Aimv2TextConfig),
    ],
)
def test_the_kind_of_a_configuration(values, kind):
    assert kind_of(values) is kind
    assert type(config_from_dict(values)) is kind


@pytest.mark.parametrize("values", [{}, {"model_type": "clip"}, {"model_type": ["aimv2"]}, {"hidden_size": 3}, None])
def test_what_is_none_of_the_kinds(values):
    with pytest.raises(ValueError, match="expected"):
        config_from_dict(values)


def test_a_timm_configuration_is_none_of_the_kinds():
    with pytest.raises(ValueError, match="model_type is absent"):
        kind_of({"architecture": "aimv2_large_patch14_224", "pretrained_cfg": {}})


@pytest.mark.parametrize(
    "config", [Aimv2Config(), Aimv2VisionConfig(image_size=336), Aimv2TextConfig(vocab_size=50000)]
)
def test_the_configuration_of_a_folder_whichever_it_is(tmp_path, config):
    config.save_pretrained(tmp_path)
    assert config_from_pretrained(tmp_path) == config
    assert type(config_from_pretrained(tmp_path)) is type(config)


def test_a_folder_of_another_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(CheckpointError, match=f"config.json of {tmp_path}: model_type is 'clip'"):
        config_from_pretrained(tmp_path)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].glob("fixtures/apple-*/config.json")), ids=str)
def test_configurations_of_the_original_release(path):
    values = json.loads(path.read_text())
    config = config_from_dict(values)
    vision = config.vision_config if isinstance(config, Aimv2Config) else config
    assert (vision.hidden_size, vision.grid, vision.mlp_bias) == (32, (4, 4), False)
