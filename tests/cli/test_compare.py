import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aimv2_np.cli.app import app
from aimv2_np.comparison.diagnosis.fault import with_fields
from aimv2_np.recording import record
from aimv2_np.recording.adapters import record_arrays
from aimv2_np.storage import save_safetensors
from tests.support.models import both_model, pixels, tokens, vision_model

FFN = "vision_model.encoder.layers.1.ffn"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    model, inputs = both_model(), {"pixel_values": pixels(), "input_ids": tokens()}
    model.save_pretrained(folder / "model")
    broken = model.map(lambda _, array: array)
    ffn = broken.vision_model.encoder.layers[1].ffn
    broken.vision_model.encoder.layers[1].ffn = with_fields(ffn, gate_proj=ffn.up_proj, up_proj=ffn.gate_proj)
    paths = {name: folder / f"{name}.safetensors" for name in ("reference", "same", "broken", "coarse", "named")}
    record(model, inputs, paths["reference"])
    record(model, inputs, paths["same"], inner=True)
    record(broken, inputs, paths["broken"])
    coarse = record(broken, inputs, paths["coarse"], include="*.ffn")
    named = {path.replace(".ffn", ".feedforward"): array for path, array in coarse.activations.items()}
    save_safetensors(paths["named"], named)
    return paths | {"model": folder / "model", "folder": folder}


def test_the_same(files):
    result = run(files["reference"], files["same"])
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("the same: 75 activations compared, 73 of 73 modules (100%)")
    assert "not in the reference (23): vision_model.encoder.layers.0.attention.q," in " ".join(result.stdout.split())


def test_different(files):
    result = run(files["reference"], files["coarse"], "--model", files["model"])
    assert result.exit_code == 1
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "different: 6 activations compared, 4 of 73 modules (5%)"
    assert lines[2].split() == ["first", FFN]
    assert "diagnosis gate_up_swapped" in " ".join(" ".join(lines).split())
    assert "exchanges gate and up" in " ".join(lines)
    assert "note: the weights of the two recordings differ" in lines
    assert all(len(line) <= 80 for line in lines)


def test_what_cannot_be_written_or_compared_is_told_at_once(files):
    nowhere = run(files["reference"], files["same"], "--html", files["folder"] / "nowhere" / "page.html")
    assert nowhere.exit_code == 2
    assert "nowhere to write page.html to; make it first" in " ".join(nowhere.stderr.split())
    models = run(files["model"], files["model"])
    assert models.exit_code == 2
    assert "is a model; expected a recording" in " ".join(models.stderr.split())


def test_a_budget_of_what_is_the_same(files):
    assert "budget: none, as both are the same" in run(files["reference"], files["same"], "--budget", 0.9).stdout


def test_without_the_model_it_says_what_would_help(files):
    result = run(files["reference"], files["coarse"])
    assert result.exit_code == 1
    assert "--model" in result.stdout


def test_json(files):
    result = run(files["reference"], files["coarse"], "--model", files["model"], "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["equal"] is False
    assert found["first"]["path"] == FFN
    assert found["first"]["relative"] > 0.1
    assert found["worst"][0]["path"] == FFN
    assert found["diagnosis"] == "gate_up_swapped"
    assert FFN in found["explanation"]
    same = run(files["reference"], files["same"], "--json")
    assert same.exit_code == 0
    assert json.loads(same.stdout)["equal"] is True
    assert json.loads(same.stdout)["diagnosis"] is None


def test_names_are_mapped(files):
    rule = "*.feedforward=*.ffn"
    result = run(files["reference"], files["named"], "--map", rule, "--model", files["model"], "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["first"]["theirs"] == FFN.replace("ffn", "feedforward")
    assert run(files["reference"], files["named"]).exit_code == 2


def test_tolerances(files):
    assert run(files["reference"], files["coarse"], "--rtol", "10", "--partial").exit_code == 0
    assert run(files["reference"], files["coarse"], "--rtol", "vision_*=10", "--partial").exit_code == 0
    assert run(files["reference"], files["coarse"], "--rtol", "text_*=10").exit_code == 1
    assert run(files["reference"], files["same"], "--rtol", "0", "--rtol", "*=0", "--dtype", "bfloat16").exit_code in (
        0,
        1,
    )
    wrong = run(files["reference"], files["coarse"], "--rtol", "much")
    assert wrong.exit_code == 2
    assert "expected NUMBER or GLOB=NUMBER" in wrong.stderr


def test_a_few_modules_that_agree_are_not_the_same(files):
    coarse = (files["broken"], files["coarse"])  # 4 of 73 modules, and the inputs, all the same
    result = run(*coarse)
    assert result.exit_code == 2
    assert result.stdout.startswith("the same, as far as compared: 6 activations compared, 4 of 73 modules (5%)")
    assert "4 of 73 modules (5%); expected half of them or more" in result.stderr
    assert run(*coarse, "--partial").exit_code == 0
    assert run(*coarse, "--json").exit_code == 2
    found = json.loads(run(*coarse, "--json", "--partial").stdout)
    assert found["coverage"] == {"compared": 4, "modules": 73, "share": 4 / 73}


def test_what_is_required_has_to_be_compared(files):
    coarse = (files["broken"], files["coarse"])
    assert run(*coarse, "--require", "*.ffn").exit_code == 0
    result = run(*coarse, "--require", "*.ffn", "--require", "*.layers.0.attention")
    assert result.exit_code == 2
    assert "lacks 2 required modules: vision_model.encoder.layers.0.attention, text_model." in result.stderr
    found = json.loads(run(*coarse, "--require", "*.attention", "--json").stdout)
    assert len(found["required_missing"]) == 4
    assert run(*coarse, "--require-all", "--partial").exit_code == 2
    assert run(files["reference"], files["same"], "--require-all").exit_code == 0
    unknown = run(*coarse, "--require", "*.fnn")
    assert unknown.exit_code == 2
    assert "no module of the reference matches; did you mean" in unknown.stderr
    assert run(files["reference"], files["coarse"], "--require-all").exit_code == 1  # different is different


def test_a_page(files, tmp_path):
    page = tmp_path / "report.html"
    result = run(files["reference"], files["broken"], "--html", page)
    assert result.exit_code == 1
    assert f"chart: {page}" in result.stdout.replace("\n", "")
    assert FFN in page.read_text()
    page.write_text("mine")
    again = run(files["reference"], files["broken"], "--html", page)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert page.read_text() == "mine"
    assert run(files["reference"], files["broken"], "--html", page, "--force").exit_code == 1
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("case", ["missing", "no recording", "nothing in common", "no model", "mapping"])
def test_what_cannot_be_compared(files, case, tmp_path):
    (tmp_path / "text").write_text("hello")
    save_safetensors(tmp_path / "x", {"x": np.zeros(3, np.float32)})
    other, more, words = {
        "missing": (tmp_path / "none", [], "there is no file"),
        "no recording": (tmp_path / "text", [], "no safetensors file"),
        "nothing in common": (tmp_path / "x", [], "no activation in common"),
        "no model": (files["broken"], ["--model", tmp_path], "config.json"),
        "mapping": (files["broken"], ["--map", "x"], "expected 'theirs=ours'"),
    }[case]
    result = run(files["reference"], other, *more)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


def test_names_cannot_steer_the_terminal(files, tmp_path):
    arrays = {"\x1b[31mred": np.ones(3, np.float32)}
    save_safetensors(tmp_path / "a", arrays)
    save_safetensors(tmp_path / "b", {name: 2 * array for name, array in arrays.items()})
    result = run(tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
    assert "?[31mred" in result.stdout


def test_gradients(tmp_path):
    """They are judged where activations agree, and do not count for what has to be compared."""
    model, inputs = vision_model(use_head=True), {"pixel_values": pixels()}
    reference = record(model, inputs, tmp_path / "a.safetensors", gradients=True)
    same = run(tmp_path / "a.safetensors", tmp_path / "a.safetensors")
    assert same.exit_code == 0
    assert "activations and" in same.output
    arrays = dict(reference.activations)
    for path in ("gradient:encoder.layers.1.ffn.up_proj.weight", "gradient:encoder.layers.0.ffn.up_proj.weight"):
        arrays[path] = -arrays[path]
    record_arrays(arrays, tmp_path / "b.safetensors", inputs=reference.inputs)
    model.save_pretrained(tmp_path / "model")
    found = run(
        tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--model", tmp_path / "model", "--html",
        tmp_path / "page.html",
    )  # fmt: skip
    assert found.exit_code == 1
    assert "gradient:encoder.layers.1.ffn.up_proj.weight" in found.output
    assert re.search(r"diagnosis +wrong_sign", found.output)
    assert re.search(r"given by +the derivative of encoder.layers.1.ffn.up_proj", found.output)
    assert "gradients" in (tmp_path / "page.html").read_text("utf-8")
    sides = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    listed = json.loads(run("--json", *sides, "--model", tmp_path / "model").output)
    assert listed["first"]["giver"] == "encoder.layers.1.ffn.up_proj"
    assert listed["diagnosis"] == "wrong_sign"
    assert listed["coverage"]["share"] == 1
