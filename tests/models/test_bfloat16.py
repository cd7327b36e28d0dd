"""dtype="bfloat16" on the CPU: products in it, all else in float32."""

import numpy as np
import pytest
from click.testing import CliRunner

from aimv2_np import load, textbook
from aimv2_np.backends.narrow import Narrow
from aimv2_np.cli.app import app
from aimv2_np.comparison import compare
from aimv2_np.comparison.verify import verify_embedded
from aimv2_np.data import tiny_model_path
from aimv2_np.kernels.native.library import available, using
from aimv2_np.recording import record
from aimv2_np.tasks import convert
from tests.models.test_loading import outputs

EPS = 2.0**-8  # of bfloat16, half the distance from 1 to the next number


@pytest.fixture(scope="module")
def model():
    return load(tiny_model_path(), dtype="bfloat16")


def test_matrices_are_narrow_and_all_else_float32(model):
    assert model.dtype == model.vision_model.dtype == model.text_model.dtype == "bfloat16"
    for name, array in model.state_dict().items():
        assert isinstance(array, Narrow) == (array.ndim in (2, 4)), name
        assert array.dtype == np.float32


def test_it_comes_close_to_float32(model):
    expected = outputs(load(tiny_model_path()))
    found = outputs(model)
    for name in ("image_embeds", "text_embeds"):
        assert found[name].dtype == np.float32
        error = np.linalg.norm(found[name] - expected[name], axis=-1)  # of vectors of length one
        assert (error > EPS / 50).all()
        assert (error < 5 * EPS).all()


@pytest.mark.parametrize("name", [*available(), None, "textbook"])
def test_all_bodies_agree(model, name):
    """But for numbers that fall between two of bfloat16, and are rounded to either."""
    with using(None), textbook():
        expected = outputs(model).image_embeds
    if name != "textbook":
        with using(name):
            np.testing.assert_allclose(outputs(model).image_embeds, expected, atol=2 * EPS / 8)


@pytest.mark.parametrize("source", ["bfloat16", "int8", "float16"])
def test_from_other_dtypes(tmp_path, source):
    convert(tiny_model_path(), tmp_path / "stored", dtype=source)
    loaded = load(tmp_path / "stored", dtype="bfloat16")
    moved = load(tmp_path / "stored").to(dtype="bfloat16")
    assert loaded.dtype == moved.dtype == "bfloat16"
    for name, array in outputs(loaded).items():
        np.testing.assert_array_equal(outputs(moved)[name], array)
    if source == "bfloat16":
        weight = loaded.text_model.encoder.layers[0].ffn.up_proj.weight.numbers
        assert not weight.flags.owndata  # in the mapped file


def test_there_and_back(model, tmp_path):
    model.save_pretrained(tmp_path)
    for name, array in outputs(load(tmp_path, dtype="bfloat16")).items():
        np.testing.assert_array_equal(array, outputs(model)[name])
    for dtype in ("float32", "float64"):
        wide = model.to(dtype=dtype)
        assert wide.dtype == dtype
        assert not any(isinstance(array, Narrow) for array in wide.state_dict().values())
    assert model.to(dtype="bfloat16").state_dict().keys() == model.state_dict().keys()


def test_a_recording_says_so(model, tmp_path):
    inputs = {"input_ids": np.full((2, 5), model.config.text_config.eos_token_id)}
    theirs = record(model.text_model, inputs, tmp_path / "half.safetensors")
    ours = record(model.text_model.to(dtype="float32"), inputs, tmp_path / "single.safetensors")
    assert set(theirs.dtypes.values()) == {"bfloat16"}
    assert set(ours.dtypes.values()) == {"float32"}
    result = compare(ours, theirs)
    assert result.equal, result.explanation
    assert result.worst[0].relative > 1e-4


def test_this_machine_verifies_it():
    result = verify_embedded(dtype="bfloat16")
    assert result.comparison.equal, result.comparison.explanation


def test_commands_take_it(tmp_path):
    result = CliRunner().invoke(app, ["verify", "--dtype", "bfloat16"])
    assert result.exit_code == 0, result.output
