"""aimv2_np/checkpoints, against files that Transformers and PyTorch write and read."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.errors import CheckpointError
from aimv2_np.storage import match, open_checkpoint, save_checkpoint
from tests.support.state import read_state

TOWER = {"num_hidden_layers": 2, "num_attention_heads": 2}
CONFIG = Aimv2Config(
    vision_config=Aimv2VisionConfig(hidden_size=16, intermediate_size=20, image_size=28, **TOWER),
    text_config=Aimv2TextConfig(hidden_size=12, intermediate_size=18, vocab_size=50, eos_token_id=49, **TOWER),
    projection_dim=10,
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
MODELS = {
    "Aimv2Model": CONFIG,
    "Aimv2VisionModel": CONFIG.vision_config,
    "Aimv2TextModel": CONFIG.text_config,
}


def make(name, dtype="float32"):
    torch.manual_seed(0)
    config = getattr(transformers, type(MODELS[name]).__name__)(**MODELS[name].to_dict())
    return getattr(transformers, name)(config).to(DTYPES[dtype]).eval()


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def assert_same(state, model):
    expected = model.state_dict()
    assert state.keys() == expected.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(array, expected[name].double().numpy(), err_msg=name)


@pytest.mark.parametrize("limit", ["5GB", "3KB"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_what_transformers_saves_is_read_exactly(tmp_path, name, dtype, limit):
    model = make(name, dtype)
    model.save_pretrained(tmp_path, max_shard_size=limit)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (limit != "5GB")
    checkpoint = open_checkpoint(tmp_path)
    assert_same(read_state(checkpoint, shapes(model), "float64"), model)
    if dtype != "float64":
        assert_same(read_state(checkpoint, shapes(model), "float32"), model)


@pytest.mark.parametrize("limit", ["5GB", "3KB"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", MODELS)
def test_transformers_loads_what_is_saved_here(tmp_path, name, dtype, limit):
    model = make(name, dtype)
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    save_checkpoint(tmp_path, state, max_shard_size=limit)
    MODELS[name].save_pretrained(tmp_path, dtype=dtype, architecture=name)
    loaded, info = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.dtype == DTYPES[dtype]
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key]), key


@pytest.mark.parametrize("name", ["Aimv2VisionModel", "Aimv2TextModel"])
def test_one_tower_out_of_what_transformers_saves_for_two(tmp_path, name):
    both = make("Aimv2Model", "bfloat16")
    both.save_pretrained(tmp_path)
    tower = both.vision_model if name == "Aimv2VisionModel" else both.text_model
    assert_same(read_state(open_checkpoint(tmp_path), shapes(tower)), tower)


def test_every_bfloat16_as_torch_converts_it(tmp_path):
    every = torch.arange(2**16).to(torch.uint16).view(torch.bfloat16)
    finite = every[torch.isfinite(every)]
    save_file({"x": finite}, tmp_path / "model.safetensors")
    array = open_checkpoint(tmp_path).read("x")
    np.testing.assert_array_equal(array.view(np.uint32), finite.float().numpy().view(np.uint32))


def test_the_index_is_the_one_that_transformers_writes(tmp_path):
    model = make("Aimv2VisionModel")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="3KB")
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    save_checkpoint(tmp_path / "ours", state, max_shard_size="3KB")
    names = [{path.name for path in (tmp_path / who).glob("*.safetensors")} for who in ("ours", "theirs")]
    assert names[0] == names[1]
    index = [json.loads((tmp_path / who / "model.safetensors.index.json").read_text()) for who in ("ours", "theirs")]
    assert index[0]["weight_map"] == index[1]["weight_map"]
    assert index[0]["metadata"]["total_size"] == index[1]["metadata"]["total_size"]


def test_quantised_tensors_are_refused(tmp_path):
    save_file({"x": torch.zeros(4, dtype=torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.dtypes == {"x": "F8_E4M3"}
    with pytest.raises(CheckpointError, match="stored as F8_E4M3"):
        checkpoint.read("x")


def test_another_configuration_is_one_error_with_all_differences(tmp_path):
    make("Aimv2VisionModel").save_pretrained(tmp_path)
    other = transformers.Aimv2VisionModel(
        transformers.Aimv2VisionConfig(**{**CONFIG.vision_config.to_dict(), "num_hidden_layers": 3, "use_head": False})
    )
    with pytest.raises(CheckpointError, match=r"9 missing .*; 5 unexpected"):
        match(shapes(other), open_checkpoint(tmp_path))
