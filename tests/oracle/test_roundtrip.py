"""Whole models through files: saved by Transformers and loaded here, saved here and loaded by Transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import aimv2_np
from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextModel, Aimv2VisionModel
from tests.support.comparison import relative_error
from tests.support.models import both_config, pixels, randomized, text_config, tokens, vision_config
from tests.support.oracle import their_inputs, their_model
from tests.support.tally import compared

NAMES = ("Aimv2Model", "Aimv2VisionModel", "Aimv2TextModel")
CONFIGS = {
    "Aimv2Model": both_config(vision_config=vision_config(qkv_bias=True), text_config=text_config(hidden_act="gelu")),
    "Aimv2VisionModel": vision_config(is_native=True, mlp_bias=True),
    "Aimv2TextModel": text_config(mlp_bias=True),
}
LIMITS = ("5GB", "2KB")  # one file; many

# Small, well-conditioned networks: some tens of float32 roundings of size 6e-8.
TOLERANCE = 1e-5


def new(name: str) -> Any:
    """Ours with random weights, gains and biases too."""
    return randomized(getattr(aimv2_np, name)(CONFIGS[name]))


def inputs_of(name: str) -> dict[str, np.ndarray]:
    """Pictures, texts or both; float32."""
    images, texts = {"pixel_values": pixels()}, {"input_ids": tokens()}
    return {"Aimv2Model": images | texts, "Aimv2VisionModel": images, "Aimv2TextModel": texts}[name]


def assert_same_outputs(ours: Any, theirs: Any, inputs: dict[str, np.ndarray]) -> None:
    theirs.set_attn_implementation("eager")
    with torch.no_grad():
        expected = theirs.eval()(**their_inputs(inputs, torch.float32)).to_tuple()
    got = ours(**inputs).to_tuple()
    assert len(got) == len(expected)
    pairs = enumerate(zip(flat(got), flat(expected), strict=True))
    found = {str(i): relative_error(a, b.numpy()) for i, (a, b) in pairs}
    assert max(found.values()) <= TOLERANCE
    compared("checkpoints", found, TOLERANCE)


def flat(values: Any) -> list[Any]:
    return [v for value in values for v in (flat(value) if isinstance(value, tuple) else [value])]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_saved_there_loaded_here(name: str, dtype: str, limit: str, tmp_path: Path) -> None:
    theirs = their_model(new(name)).to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path, max_shard_size=limit)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (limit != "5GB")
    for ours in (getattr(aimv2_np, name).from_pretrained(tmp_path), aimv2_np.load(tmp_path)):
        assert type(ours).__name__ == name
        assert ours.config == CONFIGS[name]
        assert_same_outputs(ours, theirs.float(), inputs_of(name))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_saved_here_loaded_there(name: str, dtype: str, limit: str, tmp_path: Path) -> None:
    ours = new(name).to(dtype=dtype)
    ours.save_pretrained(tmp_path, max_shard_size=limit)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (limit != "5GB")
    theirs, info = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert str(theirs.dtype) == f"torch.{dtype}"
    assert_same_outputs(ours.to(dtype="float32"), theirs.float(), inputs_of(name))


@pytest.mark.parametrize("name", ["Aimv2VisionModel", "Aimv2TextModel"])
def test_one_tower_out_of_two(name: str, tmp_path: Path) -> None:
    both = their_model(new("Aimv2Model"))
    both.save_pretrained(tmp_path, max_shard_size="2KB")
    theirs = both.vision_model if name == "Aimv2VisionModel" else both.text_model
    ours = getattr(aimv2_np, name).from_pretrained(tmp_path)
    assert_same_outputs(ours, theirs, inputs_of(name))


def test_there_and_back_changes_no_bit(tmp_path: Path) -> None:
    """Saved here, loaded and saved there, loaded here: the same configuration and the same numbers."""
    ours = new("Aimv2Model")
    ours.save_pretrained(tmp_path / "here")
    transformers.Aimv2Model.from_pretrained(tmp_path / "here").save_pretrained(tmp_path / "there")
    again = Aimv2Model.from_pretrained(tmp_path / "there")
    assert again.config == ours.config
    state = again.state_dict()
    assert all(np.array_equal(array, state[path]) for path, array in ours.state_dict().items())


def test_defaults_are_transformers_defaults() -> None:
    for ours, theirs in (
        (Aimv2Config(), transformers.Aimv2Config()),
        (Aimv2VisionModel.config_class(), transformers.Aimv2VisionConfig()),
        (Aimv2TextModel.config_class(), transformers.Aimv2TextConfig()),
    ):
        values = theirs.to_dict()
        assert ours == type(ours).from_dict(values)
