"""aimv2_np/storage/sections.py: which part of a larger config.json is the AIMv2's."""

import json

import pytest

from aimv2_np import Aimv2VisionConfig, CheckpointError
from aimv2_np.storage import expected_config
from aimv2_np.storage.sections import is_wrapped, section
from aimv2_np.tasks import load_classifier
from tests.support.models import both_config, vision_config

TOWER = vision_config(use_head=False).to_dict()
BARE = {key: value for key, value in TOWER.items() if key != "model_type"}


@pytest.mark.parametrize("path", [[], ["vision_config"], ["visual_tokenizer_config", "backbone_config"]])
def test_the_part_that_says_so(path):
    values = dict(TOWER)
    for key in reversed(path):
        values = {"model_type": "vlm", "text": {"hidden_size": 16}, key: values}
    assert section(values) == section(values, TOWER) == TOWER
    assert is_wrapped(values) is bool(path)


def test_ovis2s_visual_vocabulary_is_no_text_towers():
    values = {"vision_config": {**BARE, "model_type": "ovis2_vision", "vocab_size": 9, "hidden_stride": 2}}
    assert section(values) == {**BARE, "model_type": "aimv2_vision_model"}


def test_openclips_name_of_a_trunk():
    values = {"model_cfg": {"vision_cfg": {"timm_model_name": "aimv2_large_patch14_224", "image_size": 336}}}
    assert section(values)["image_size"] == 336
    assert section({"vision_cfg": {"timm_model_name": "vit_base_patch16_224"}}) == {}


def test_the_part_that_agrees_and_none_that_contradicts():
    text = {"hidden_size": TOWER["hidden_size"], "intermediate_size": 7, "num_hidden_layers": 1}
    assert section({"a": text, "b": {"c": BARE}}, TOWER) == BARE
    assert section({"a": text}, TOWER) == {}
    assert section({"a": BARE}) == {}


@pytest.mark.parametrize(("values", "kind"), [
    ({"model_type": "vlm", "vision_config": TOWER}, Aimv2VisionConfig), ({"model_type": "vlm", "a": BARE}, None),
    (TOWER, Aimv2VisionConfig),
])  # fmt: skip
def test_before_there_are_weights(tmp_path, values, kind):
    (tmp_path / "config.json").write_text(json.dumps(values))
    found = expected_config(tmp_path)
    assert found is None if kind is None else isinstance(found, kind)
    with pytest.raises((ValueError, FileNotFoundError)):
        load_classifier(tmp_path)


def test_two_towers_in_one_part(tmp_path):
    both = both_config().to_dict()
    assert section({"model_type": "vlm", "clip": both}, both) == both
    assert section({"model_type": "vlm", "clip": both}, TOWER) == both["vision_config"]
    (tmp_path / "config.json").write_text(json.dumps({**TOWER, "rope_theta": 1.0}))
    with pytest.raises(CheckpointError, match="rope_theta"):
        expected_config(tmp_path)
