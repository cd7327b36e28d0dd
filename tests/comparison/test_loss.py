"""aimv2_np/comparison/loss.py: what fewer bytes a weight cost."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aimv2_np import Aimv2VisionModel, load
from aimv2_np.cli.app import app
from aimv2_np.comparison.loss import measure_loss, sample_inputs
from aimv2_np.data import tiny_model_path
from aimv2_np.tasks import convert
from tests.support.models import text_config, vision_config, vision_model


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loss") / "int8"
    convert(tiny_model_path(), folder, dtype="int8")
    return folder


def test_the_same_checkpoint_lost_nothing():
    loss = measure_loss(tiny_model_path(), tiny_model_path())
    np.testing.assert_allclose(list(loss.cosines.values()), 1, atol=1e-12)
    assert {error for _, error in loss.layers} == {0}
    assert len(loss.layers) == 7  # of both towers


def test_int8_lost_little_and_the_worst_layer_comes_first(int8):
    loss = measure_loss(tiny_model_path(), int8)
    assert list(loss.cosines) == ["image_embeds", "text_embeds"]
    assert all(0.9999 < cosine < 1 for cosine in loss.cosines.values())
    errors = [error for _, error in loss.layers]
    assert errors == sorted(errors, reverse=True)
    assert 1e-3 < errors[0] < 2e-2


def test_a_damaged_layer_is_the_worst(tmp_path):
    model = vision_model()
    model.save_pretrained(tmp_path / "sound")
    model.encoder.layers[1].ffn.down_proj.weight[:] *= -20
    model.save_pretrained(tmp_path / "damaged")
    loss = measure_loss(tmp_path / "sound", tmp_path / "damaged")
    assert loss.layers[0][0] == "encoder.layers.1"
    assert min(loss.cosines.values()) < 0.99


def test_another_network_is_refused(tmp_path):
    Aimv2VisionModel(vision_config()).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="is another network than"):
        measure_loss(tiny_model_path(), tmp_path / "other")


@pytest.mark.parametrize(
    "config", [vision_config(), vision_config(num_channels=1), vision_config(is_native=True), text_config()]
)
def test_inputs_are_those_that_a_model_takes(config):
    inputs = sample_inputs(config)
    assert set(inputs) <= {"pixel_values", "input_ids"}
    for name, array in sample_inputs(config).items():
        np.testing.assert_array_equal(array, inputs[name])
    if "input_ids" in inputs:
        assert (inputs["input_ids"][:, -1] == config.eos_token_id).all()


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_verify_says_what_was_lost(int8):
    arguments = ("verify", "--model", int8, "--original", tiny_model_path())
    result = run(*arguments)
    assert result.exit_code == 0
    assert "cosine 0.9999" in result.stdout
    assert "worst layers" in result.stdout
    result = run(*arguments, "--at-least", "0.9999999", "--json")
    assert result.exit_code == 1
    assert list(json.loads(result.stdout)) == ["cosines", "layers"]
    for wrong in (("--texts", "a"), ("--against", "transformers")):
        assert "--original goes with --model" in run(*arguments, *wrong).stderr
    assert "--original goes with --model" in run("verify", "--original", int8).stderr


def test_convert_says_what_it_costs(tmp_path):
    arguments = ("convert", tiny_model_path(), tmp_path / "out", "--layout", "transformers", "--dtype", "bfloat16")
    assert "worst layers" in run(*arguments).stdout
    assert "worst layers" not in run(*arguments, "--no-loss", "--force").stdout
    assert "worst layers" in run(*arguments, "--no-loss", "--loss", "--force").stdout  # the last word counts
    assert json.loads(run(*arguments, "--force", "--json").stdout)["loss"]["cosines"]["image_embeds"] > 0.99999
    assert json.loads(run(*arguments[:-2], "--force", "--json").stdout)["loss"] is None
    assert load(tmp_path / "out").dtype == "float32"
