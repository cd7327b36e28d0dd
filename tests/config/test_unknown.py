"""aimv2_np/config/unknown.py: a fork's configuration is refused by name, and unknown keys are told."""

import json
import warnings

import pytest

from aimv2_np import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, CheckpointError, ConfigWarning, load
from tests.support.models import both_config, both_model, vision_model

CHANGES = {
    "disable_rope": False, "use_rope": True, "rope_theta": 10000.0, "rope_scaling": {"type": "linear"},
    "use_2d_rope": True, "rotary_dim": 64, "partial_rotary_factor": 0.5, "window_size": 112,
    "fullatt_block_indexes": [7, 15], "sliding_window": 4096, "global_attn_indexes": [2], "preserve_original_pe": True,
    "interpolate_pe_method": "two_dim", "qk_norm": True, "use_qk_norm": True, "qk_layernorm": True, "q_norm": "rms",
    "num_register_tokens": 4, "reg_tokens": 4, "registers": 1, "class_token": True, "layer_scale_init_value": 1e-5,
    "layerscale_value": 0.1, "use_layer_scale": True, "init_values": 1e-5, "quantization_config": {"bits": 4},
    "load_in_4bit": True, "position_embedding_type": "relative_key", "use_relative_position_bias": True,
    "attn_logit_softcapping": 50.0, "num_key_value_heads": 1, "head_dim": 4, "num_experts": 8,
    "temporal_patch_size": 2, "spatial_merge_size": 2, "is_causal": True,
}  # fmt: skip
OFF = {
    "disable_rope": True, "use_rope": False, "rope_theta": None, "window_size": 0, "fullatt_block_indexes": [],
    "sliding_window": None, "preserve_original_pe": False, "interpolate_pe_method": None, "qk_norm": False,
    "num_register_tokens": 0, "layer_scale_init_value": None, "init_values": None, "quantization_config": None,
    "position_embedding_type": "absolute", "num_key_value_heads": 2, "head_dim": 8, "temporal_patch_size": 1,
    "is_causal": False, "quantization": "none",
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), CHANGES.items())
def test_what_changes_the_mathematics_is_refused_by_name(tmp_path, key, value):
    values = vision_model().config.to_dict() | {key: value}
    with pytest.raises(ValueError, match=rf"^{key} is .* means "):
        Aimv2VisionConfig.from_dict(values)
    vision_model().save_pretrained(tmp_path / "fork")
    (tmp_path / "fork" / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=rf"config\.json of .*fork: {key} is "):
        load(tmp_path / "fork")


@pytest.mark.parametrize("tower", ["vision_config", "text_config"])
def test_in_a_tower_and_beside_both(tower):
    values = both_config().to_dict()
    with pytest.raises(ValueError, match=rf"^{tower}\.rope_theta is 1"):
        Aimv2Config.from_dict({**values, tower: {**values[tower], "rope_theta": 1.0}})
    with pytest.raises(ValueError, match=r"^quantization_config is "):
        Aimv2Config.from_dict({**values, "quantization_config": {"quant_method": "awq"}})


@pytest.mark.parametrize(("key", "value"), OFF.items())
def test_what_is_off_passes_without_a_word(tmp_path, key, value):
    vision_model().save_pretrained(tmp_path / "plain")
    (tmp_path / "plain" / "config.json").write_text(json.dumps(vision_model().config.to_dict() | {key: value}))
    assert load(tmp_path / "plain").config == vision_model().config


@pytest.mark.parametrize("values", [
    {"disable_rope": True, "rope_theta": 10000.0}, {"use_rope": False, "rope_scaling": {"factor": 2}},
    {"use_sliding_window": False, "sliding_window": 4096},
])  # fmt: skip
def test_settings_of_what_is_switched_off_mean_nothing(values):
    assert Aimv2VisionConfig.from_dict(values).extra == values
    with pytest.raises(ValueError, match="qk_norm"):
        Aimv2VisionConfig.from_dict({**values, "qk_norm": True})


def test_a_text_tower_is_causal():
    assert Aimv2TextConfig.from_dict({"vocab_size": 49408, "is_causal": True}).extra == {"is_causal": True}


def test_unknown_keys_are_named_once_and_harmless_ones_never(tmp_path):
    both_model().save_pretrained(tmp_path / "saved")
    values = both_config().to_dict() | {"transformers_version": "4.5", "use_cache": True, "_name": 3, "frobnicate": 3}
    values["vision_config"] |= {"patchwork": 1, "projection_dropout": 0.0, "properties": {}}
    (tmp_path / "saved" / "config.json").write_text(json.dumps(values))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(tmp_path / "saved")
    assert [warning.category for warning in caught] == [ConfigWarning]
    assert "ignored: frobnicate, patchwork, properties;" in str(caught[0].message)
