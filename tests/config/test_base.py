"""aimv2_np/config/base.py"""

import copy
import dataclasses
import json
import os
import pickle

import pytest

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, read_config
from aimv2_np.errors import CheckpointError

KINDS = [Aimv2Config, Aimv2VisionConfig, Aimv2TextConfig]
EXTRA = {"transformers_version": "5.23.0", "auto_map": {"AutoModel": ["a", "b"]}, "pad_token_id": None, "extra": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_read_again_it_is_equal_and_has_lost_nothing(tmp_path, kind):
    config = kind.from_dict({**kind().to_dict(), **EXTRA})
    config.save_pretrained(tmp_path / "new" / "folder")
    again = kind.from_pretrained(tmp_path / "new" / "folder")
    assert again == config
    assert again.extra == EXTRA
    assert again.to_dict() == config.to_dict()


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize("kind", KINDS)
def test_a_link_may_not_lead_out_of_the_folder(tmp_path, kind):
    kind().save_pretrained(tmp_path / "elsewhere")
    (tmp_path / "model").mkdir()
    link = tmp_path / "model" / "config.json"
    link.symlink_to("../elsewhere/config.json")
    with pytest.raises(CheckpointError, match=r"config\.json is a link that leads out of its folder"):
        kind.from_pretrained(tmp_path / "model")
    link.unlink()
    kind().save_pretrained(tmp_path / "model")
    link.rename(link.with_name("real.json"))
    link.symlink_to("real.json")
    assert kind.from_pretrained(tmp_path / "model") == kind()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_may_be_text_or_path(tmp_path, kind):
    kind().save_pretrained(str(tmp_path))
    assert kind.from_pretrained(str(tmp_path)) == kind.from_pretrained(tmp_path) == kind()


def test_unknown_keys_are_no_attributes_and_take_no_part_in_equality():
    config = Aimv2VisionConfig.from_dict(EXTRA)
    assert not hasattr(config, "auto_map")
    assert config == Aimv2VisionConfig()
    assert hash(config) == hash(Aimv2VisionConfig())


def test_extra_is_shared_with_nobody():
    given = copy.deepcopy(EXTRA)
    config = Aimv2VisionConfig.from_dict(given)
    given["auto_map"]["AutoModel"].append("c")
    config.to_dict()["auto_map"]["AutoModel"].append("d")
    assert config.extra == EXTRA


def test_names_of_fields_are_no_extra():
    for name in ("hidden_size", "model_type"):
        with pytest.raises(ValueError, match=f"extra holds {name}"):
            Aimv2VisionConfig(extra={name: 3})
    with pytest.raises(ValueError, match=r"^extra is 3"):
        Aimv2VisionConfig(extra=3)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_and_yet_copied_pickled_and_replaced(kind):
    config = kind(extra={"a": [1]})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.extra = {}
    for again in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), dataclasses.replace(config)):
        assert again == config
        assert again.extra == config.extra


def test_replacing_a_field_checks_it():
    with pytest.raises(ValueError, match=r"^hidden_size"):
        dataclasses.replace(Aimv2VisionConfig(), hidden_size=0)


@pytest.mark.parametrize("kind", KINDS)
def test_existing_files_are_kept_unless_overwriting(tmp_path, kind):
    kind(extra={"a": 1}).save_pretrained(tmp_path)
    with pytest.raises(FileExistsError):
        kind(extra={"a": 2}).save_pretrained(tmp_path)
    assert kind.from_pretrained(tmp_path).extra == {"a": 1}
    kind(extra={"a": 2}).save_pretrained(tmp_path, overwrite=True)
    assert kind.from_pretrained(tmp_path).extra == {"a": 2}


def test_saying_what_is_saved_beside_it_replaces_what_the_file_said(tmp_path):
    config = Aimv2Config.from_dict(
        {"torch_dtype": "float16", "architectures": ["AIMv2Model"], "vision_config": {"torch_dtype": "bfloat16"}}
    )
    config.save_pretrained(tmp_path, dtype="float32", architecture="Aimv2Model")
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["architectures"] == ["Aimv2Model"]
    for part in (values, values["vision_config"], values["text_config"]):
        assert part["dtype"] == "float32"
        assert "torch_dtype" not in part


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"model_type": "clip"}', '{"hidden_act": 1, "max_logit_scale": NaN}']
)
def test_files_that_hold_no_configuration_are_named(tmp_path, kind, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError) as raised:
        kind.from_pretrained(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "config.json" in str(raised.value)


def test_a_bad_field_of_a_file_is_named_with_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"text_config": {"vocab_size": -3}}')
    with pytest.raises(
        CheckpointError, match=r"config\.json of .*: text_config\.vocab_size is -3; expected an integer"
    ):
        Aimv2Config.from_pretrained(tmp_path)


def test_a_folder_without_configuration(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        read_config(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_config(tmp_path / "none")


def test_links_out_of_the_folder_are_refused_and_those_of_a_hub_cache_followed(tmp_path):
    (tmp_path / "secret.json").write_text('{"model_type": "aimv2"}')
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").symlink_to("../secret.json")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        read_config(tmp_path / "folder")
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text('{"model_type": "aimv2"}')
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    assert read_config(snapshot) == {"model_type": "aimv2"}


def test_a_value_of_any_size_is_quoted_in_short(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x" * 10**5}))
    with pytest.raises(CheckpointError, match="model_type is 'xxx") as caught:
        Aimv2Config.from_pretrained(tmp_path)
    assert len(str(caught.value)) < 500
