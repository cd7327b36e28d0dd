"""Quantised engines: judged by what arises in each module, and real faults beneath the rounding are named."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aimv2_np.cli.app import app
from aimv2_np.comparison import Tolerances, compare
from aimv2_np.comparison.tolerances import QUANTISED
from aimv2_np.recording import record
from tests.support.planted import PLANTED, all_towers, outside, port, towers
from tests.support.port import Port, recorded
from tests.support.quantised import ENGINES, engine

# Smaller than what rounding makes, or (a layer or its norms that run twice) rounded before it was recorded.
UNSEEN = (
    "in bfloat16",
    "in int",
    "k in int8",
    "in float16",
    "in e4m3",
    "a = -1/2",
    "-10",
    "a = -1,",
    "Lanczos",
    "base 1e6",
    "deviations exchanged",
    "dynamic int8",
    "exponential",
    "MLP of x,",
    "sandwich",
    "doubled",
    "no norm,",
)
FAULTS = [name for name in PLANTED if not any(words in name for words in UNSEEN)]


def of_engine(name, tower, fault=Port, keep=lambda path: True):
    model, given, reference = all_towers()[tower]
    found = engine(name, fault)(model).run(**given)
    found = {path: array for path, array in found.items() if "/" in path or keep(path)}
    return compare(reference, found, model=model, tolerances=Tolerances(quantised=ENGINES[name][0]))


@pytest.mark.parametrize("keep", [lambda path: True, outside], ids=["all", "layers"])
@pytest.mark.parametrize("tower", towers())
@pytest.mark.parametrize("name", ENGINES)
def test_a_faithful_engine_is_not_accused(name, tower, keep):
    result = of_engine(name, tower, keep=keep)
    assert result.equal, result.explanation
    assert result.diagnosis is None
    assert max(each.own / QUANTISED[ENGINES[name][0]] for each in result.differences if each.own is not None) > 0.05
    assert "the largest own error" in result.explanation


@pytest.mark.parametrize("fault", FAULTS[::3])
def test_a_fault_beneath_the_rounding_is_named(fault):
    planted = PLANTED[fault]
    result = of_engine("int8, dynamic", planted.towers.split()[0], port(planted))
    assert not result.equal
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == planted.identifier, result.explanation
    assert "Something else" not in result.explanation


@pytest.mark.parametrize("fault", [name for name in PLANTED if name not in FAULTS])
def test_what_is_hidden_by_the_rounding_gets_no_other_name(fault):
    planted = PLANTED[fault]
    result = of_engine("int8, dynamic", planted.towers.split()[0], port(planted))
    assert result.diagnosis is None or result.diagnosis.identifier == planted.identifier, result.explanation


@pytest.mark.parametrize("fault", ["gate and up, learned", "no scale, learned", "uniform, learned"])
@pytest.mark.parametrize("name", ["float8", "int4, groups", "int8, by token"])
def test_in_one_layer_of_other_engines(name, fault):
    planted = PLANTED[fault]
    result = of_engine(name, planted.towers.split()[0], port(planted, layer=1))
    assert result.first.path.startswith("encoder.layers.1")
    assert result.diagnosis.identifier == planted.identifier, result.explanation


def test_two_faults_in_different_layers_are_both_named():
    class Two(port(PLANTED["no scale, learned"], layer=0), port(PLANTED["relu, learned"], layer=2)):
        pass

    result = of_engine("int8, dynamic", "learned", Two)
    assert result.diagnosis.identifier == "missing_scale"
    assert "the next cause: encoder.layers.2.ffn" in result.explanation
    assert {each.path for each in result.wrong} == {
        "encoder.layers.0.attention.out_proj", "encoder.layers.2.ffn.down_proj"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["int8, dynamic", "int8, dynamic, whole", "int8, by token"])
def test_large_numbers_that_rounding_spoils_are_named(name):
    model, given, _ = all_towers()["native"]
    peaked = model.map(
        lambda path, array: array * np.where(np.arange(len(array)) == 3, np.float32(3e3), np.float32(1))[:, None]
        if path.endswith("1.ffn.up_proj.weight") else array
    )  # fmt: skip
    reference, found = recorded(peaked, given), engine(name)(peaked).run(**given)
    small = {"encoder.layers.1.ffn.down_proj": 1e-4}
    result = compare(reference, found, model=peaked, tolerances=Tolerances(quantised="int8", rules=small))
    assert result.first.path == "encoder.layers.1.ffn.down_proj"
    assert result.diagnosis.identifier == "int8_activations"
    assert result.diagnosis.explained > 0.999


def test_what_was_not_recorded_whole_is_not_judged(tmp_path):
    model, given, reference = all_towers()["native"]
    path = tmp_path / "other.safetensors"
    record(model, given, path, statistics=True, whole=["inputs/*", "*ffn*", "encoder.layers.?"])
    result = compare(reference, path, model=model, tolerances=Tolerances(quantised="int8"))
    assert result.equal
    assert "not judged, as they were not recorded whole: embeddings" in result.notes[-1]
    assert "embeddings.rms_norm" in result.missing
    record(model, given, path, statistics=True, overwrite=True)
    with pytest.raises(ValueError, match="record the inputs and no statistics"):
        compare(reference, path, model=model, tolerances=Tolerances(quantised="int8"))


@pytest.mark.parametrize("options", [{}, {"model": "given"}])
def test_without_a_model_or_inputs_there_is_no_own_error(options):
    model, _, reference = all_towers()["native"]
    found = {path: array for path, array in reference.items() if "/" not in path}
    options = dict.fromkeys(options, model)
    with pytest.raises(ValueError, match="pass the model"):
        compare(found, found, tolerances=Tolerances(quantised="int8"), **options)


def test_half_precision_beside_quantised_matrices_is_asked_for():
    model, given, reference = all_towers()["native"]
    found = {
        path: array if "/" in path else array.astype(np.float16).astype(array.dtype)
        for path, array in engine("int8, dynamic", Port)(model).run(**given).items()
    }
    result = compare(reference, found, model=model, tolerances=Tolerances(quantised="int8"))
    assert "say --dtype float16 if it computes in that" in result.explanation
    result = compare(reference, found, model=model, tolerances=Tolerances(quantised="int8", dtype="float16"))
    assert result.equal, result.explanation


def test_the_command(tmp_path):
    model, given, _ = all_towers()["native"]
    model.save_pretrained(tmp_path / "model")
    reference = str(tmp_path / "reference.safetensors")
    record(model, given, reference)
    paths = []
    for name, fault in (("right", Port), ("wrong", port(PLANTED["no scale, learned"], layer=1))):
        np.savez(tmp_path / f"{name}.npz", **engine("int8, dynamic", fault)(model).run(**given))
        paths.append(str(tmp_path / f"{name}.safetensors"))
        _to_safetensors(tmp_path / f"{name}.npz", paths[-1])
    arguments = [reference, "--model", str(tmp_path / "model"), "--quantised", "int8"]
    same = CliRunner().invoke(app, ["compare", arguments[0], paths[0], *arguments[1:]])
    assert same.exit_code == 0, same.output
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["compare", arguments[0], paths[1], *arguments[1:], "--html", str(page)])
    assert result.exit_code == 1
    assert "own error" in result.stdout
    assert "missing_scale" in result.stdout
    assert "own error" in page.read_text()
    value = json.loads(CliRunner().invoke(app, ["compare", arguments[0], paths[1], *arguments[1:], "--json"]).stdout)
    assert value["first"]["path"] == "encoder.layers.1.attention.out_proj"
    assert [each["path"] for each in value["wrong"]] == ["encoder.layers.1.attention.out_proj"]
    refused = CliRunner().invoke(app, ["compare", arguments[0], paths[0], "--quantised", "int5"])
    assert refused.exit_code == 2
    assert "expected one of int8, float8, int4" in refused.stderr


def _to_safetensors(source, path):
    from safetensors.numpy import save_file

    with np.load(source) as arrays:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
