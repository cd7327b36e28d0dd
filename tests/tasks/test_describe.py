import json
import re

import numpy as np
import pytest

from aimv2_np import Aimv2Model, Aimv2VisionModel, CheckpointError, load
from aimv2_np.storage import save_checkpoint
from aimv2_np.tasks import describe
from tests.support.layouts import ALL, FILES, folder_of
from tests.support.two_towers import save_text_tower, save_vision_tower, vision_config


def test_two_towers(two_towers):
    found = describe(two_towers)
    model = Aimv2Model.from_pretrained(two_towers)
    state = model.state_dict()
    assert found.model == "Aimv2Model"
    assert found.config == model.config
    assert found.parameters == model.num_parameters() == sum(part.parameters for part in found.parts)
    assert {name: shape for name, (shape, _) in found.tensors.items()} == {n: a.shape for n, a in state.items()}
    assert found.dtypes == {"F32": found.parameters}
    assert found.memory == (4 * found.parameters, 0)
    assert found.files == {"model.safetensors": (two_towers / "model.safetensors").stat().st_size}
    assert found.positions == {
        "vision": "learned, 2x3 patches of 8x8 in 16x24 pixels",
        "text": "learned, up to 16 tokens",
    }
    assert found.problem is None


def test_parts_are_the_modules_with_the_layers_in_one_line(two_towers):
    model = Aimv2Model.from_pretrained(two_towers)
    parts = {part.path: (part.count, part.parameters) for part in describe(two_towers).parts}
    assert parts["vision_model.encoder.layers"] == (2, model.vision_model.encoder.num_parameters())
    assert parts["text_model.encoder.layers"] == (1, model.text_model.encoder.num_parameters())
    assert parts["vision_model.head"] == (1, model.vision_model.head.num_parameters())
    assert parts["logit_scale"] == (1, 1)
    assert len(parts) == 10


def test_one_tower(tmp_path):
    vision = describe(save_vision_tower(tmp_path / "vision", is_native=True, use_head=False))
    assert vision.model == "Aimv2VisionModel"
    assert [part.path for part in vision.parts] == ["embeddings", "encoder.layers", "rms_norm"]
    assert "any grid" in vision.positions["vision"]
    assert describe(save_text_tower(tmp_path / "text")).model == "Aimv2TextModel"


def test_shards_in_half_precision(tmp_path):
    folder = tmp_path / "half"
    model = Aimv2VisionModel(vision_config())
    state = {name: array.astype(np.float16) for name, array in model.state_dict().items()}
    save_checkpoint(folder, state, max_shard_size=4000)
    model.config.save_pretrained(folder)
    found = describe(folder)
    shards = [name for name in found.files if re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", name)]
    assert len(shards) > 1
    assert found.dtypes == {"F16": model.num_parameters()}
    assert found.memory == (0, 4 * model.num_parameters())


def test_the_weights_are_not_read(two_towers, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr("aimv2_np.storage.SafetensorsFile.read", refuse)
    assert describe(two_towers).parameters > 0


def test_without_weights(tmp_path):
    folder = tmp_path / "config-only"
    vision_config().save_pretrained(folder)
    found = describe(folder)
    assert found.files == found.dtypes == {}
    assert found.memory == (0, 4 * found.parameters)
    assert found.tensors["rms_norm.weight"] == ((16,), None)


def test_weights_of_another_configuration_are_a_problem(tmp_path):
    folder = save_vision_tower(tmp_path / "vision")
    (folder / "config.json").unlink()
    vision_config(num_hidden_layers=3).save_pretrained(folder)
    problem = describe(folder).problem
    assert problem is not None
    assert "9 missing" in problem


def test_a_configuration_that_makes_no_sense(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="model_type is 'bert'"):
        describe(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        describe(tmp_path)


def test_a_missing_shard_is_an_error(tmp_path):
    folder = tmp_path / "sharded"
    model = Aimv2VisionModel(vision_config())
    model.save_pretrained(folder, max_shard_size=8000)
    next(folder.glob("model-00002*")).unlink()
    with pytest.raises(FileNotFoundError, match="names 1 files"):
        describe(folder)


@pytest.mark.parametrize(("network", "layout"), ALL)
def test_other_layouts_are_described_in_our_names(tmp_path, network, layout):
    folder = folder_of(tmp_path, network, layout)
    found = describe(folder)
    model = load(folder)
    assert (found.layout, found.problem) == (layout, None)
    assert {name: shape for name, (shape, _) in found.tensors.items()} == {
        name: array.shape for name, array in model.state_dict().items()
    }
    assert found.parameters == sum(found.dtypes.values()) == model.num_parameters()
    assert found.config == model.config
    assert list(found.files) == [FILES[layout]]


def test_of_several_layouts_the_one_that_is_read_is_described(tmp_path):
    folder = folder_of(tmp_path, "apple-absolute", "apple")
    (folder / "flax_model.msgpack").write_bytes(b"not looked at")
    assert list(describe(folder).files) == ["model.safetensors"]


def test_timms_configuration_alone_is_known_by_its_architecture(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "aimv2_3b_patch14_448", "num_classes": 0}))
    found = describe(tmp_path)
    assert found.layout is None
    assert found.parameters == 2_723_017_728
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "aimv2_mine", "pretrained_cfg": {}}))
    with pytest.raises(CheckpointError, match=r"config\.json of .*aimv2_mine.*fetch its weights"):
        describe(tmp_path)
