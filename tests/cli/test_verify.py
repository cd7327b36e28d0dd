import json

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aimv2_np.cli.app import app
from aimv2_np.comparison import published
from aimv2_np.recording import record
from aimv2_np.recording.inputs import load_with_inputs
from tests.support.pictures import photo

TEXTS = ("a photo of a cat", "a photo of a dog")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


@pytest.fixture
def stand_in(two_towers, tmp_path, monkeypatch):
    """The embedded model and its golden, replaced; returns where the golden is."""
    path = tmp_path / "golden.safetensors"
    model, inputs = load_with_inputs(two_towers, [photo(40, 60)], ["a cat"])
    record(model, inputs, path, statistics=True, whole=["inputs/*"])
    monkeypatch.setattr("aimv2_np.comparison.verify.tiny_model_path", lambda: two_towers)
    monkeypatch.setattr("aimv2_np.comparison.verify.tiny_golden_path", lambda: path)
    return path


def test_no_arguments(stand_in):
    result = run()
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("OK: the embedded model computes what Transformers computes")
    assert f"numpy {np.__version__}" in " ".join(result.stdout.split())


def test_json(stand_in):
    result = run("--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["equal"] is True
    assert found["first"] is None
    assert found["here"]["numpy"] == np.__version__


def test_what_differs_is_named(stand_in, monkeypatch):
    from aimv2_np.network.swiglu import gated

    monkeypatch.setattr(gated, "bodies", {})
    monkeypatch.setattr(gated, "textbook", lambda gate, up, *_: gate * up)
    result = run("--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["equal"] is False
    assert ".layers.0.ffn" in found["first"]["path"]
    result = run()
    assert result.exit_code == 1
    assert result.stdout.startswith("DIFFERENT")


def test_when_it_cannot_be_told(stand_in):
    stand_in.unlink()
    result = run()
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_published_numbers(two_towers, tmp_path, monkeypatch):
    cats = tmp_path / "cats.png"
    photo(480, 640).save(cats)
    model, inputs = load_with_inputs(two_towers, [cats], TEXTS)
    logits = np.round(model(**inputs).logits_per_image, 4).tolist()
    table = {"apple/made-up": published.Published("logits_per_image", (1, 2), logits, TEXTS)}
    monkeypatch.setattr(published, "PUBLISHED", table)
    result = run("--model", two_towers, "--as", "apple/made-up", "--image", cats)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("apple/made-up gives the published numbers")
    table["apple/made-up"].corner[0][0] += 1
    result = run("--model", two_towers, "--as", "apple/made-up", "--image", cats, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [attempt["attention"] for attempt in found["attempts"]] == ["causal", "non-causal"]
    assert found["attempts"][0]["max_abs"] == pytest.approx(1, abs=1e-3)
    result = run("--model", two_towers, "--image", cats)
    assert result.exit_code == 2
    assert "for which no numbers are published" in result.stderr


@pytest.mark.parametrize("arguments", [["--image", "a.jpg"], ["--as", "x"], ["--model", "x"], ["--against", "jax"]])
def test_usage(arguments):
    assert run(*arguments).exit_code == 2
