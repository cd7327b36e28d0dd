"""The composite action: its steps, run as plain commands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aimv2_np.recording import Recording, record
from aimv2_np.recording.adapters import record_arrays
from tests.support.models import pixels, vision_model

ROOT = Path(__file__).parents[1]
ACTION = ROOT / ".github" / "actions" / "verify"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the action runs bash")


@pytest.fixture
def folder(tmp_path):
    """A working folder with a golden, and with `aimv2-np` on the way there."""
    command = tmp_path / "bin" / "aimv2-np"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m aimv2_np "$@"\n')
    command.chmod(0o755)
    record(vision_model(), {"pixel_values": pixels()}, tmp_path / "golden.safetensors")
    return tmp_path


def run(folder, **inputs):
    files = {"GITHUB_OUTPUT": folder / "output", "GITHUB_STEP_SUMMARY": folder / "summary"}
    environment = {
        **{name: str(path) for name, path in files.items()},
        **inputs,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_ACTION_PATH": str(ACTION),
        "PYTHONIOENCODING": "utf-8",
    }
    step = _step("Verify")
    assert set(inputs) <= set(step["env"])
    result = subprocess.run(
        ["bash", "-c", step["run"]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return result, (folder / "output").read_text().splitlines()[-1], (folder / "summary").read_text()


def _action():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ACTION / "action.yml").read_text())


def _step(name):
    return next(step for step in _action()["runs"]["steps"] if step["name"] == name)


def test_every_input_reaches_a_step_through_its_environment():
    action = _action()
    steps = action["runs"]["steps"]
    passed = {value for step in steps for value in step.get("env", {}).values()}
    assert passed == {f"${{{{ inputs.{name} }}}}" for name in action["inputs"]}
    assert all("${{" not in step["run"] for step in steps)  # an input is data, never part of a command


def test_the_runner_alone(folder):
    result, output, summary = run(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert output == "equal=true"
    assert "OK: the embedded model computes what Transformers computes" in summary


def test_an_implementation_that_agrees_under_names_of_its_own(folder):
    golden = Recording.load(folder / "golden.safetensors")
    arrays = {f"their {path.replace('.', ' ')}": np.array(golden.activations[path]) for path in golden.order}
    record_arrays(arrays, folder / "mine.safetensors")
    pairs = "\n".join(f"their {path.replace('.', ' ')}={path}" for path in golden.order)
    inputs = {"REFERENCE": "golden.safetensors", "OTHER": "mine.safetensors", "MAP": pairs, "HTML": "page.html"}
    result, output, _ = run(folder, **inputs)
    assert result.returncode == 0, result.stdout + result.stderr
    assert output == "equal=true"
    assert "<html" in (folder / "page.html").read_text().lower()


def test_an_implementation_that_differs(folder):
    golden = Recording.load(folder / "golden.safetensors")
    wrong = {path: np.array(golden.activations[path]) for path in golden.order}
    wrong["encoder.layers.1.ffn"][0, 3] *= 2
    record_arrays(wrong, folder / "mine.safetensors")
    result, output, summary = run(folder, REFERENCE="golden.safetensors", OTHER="mine.safetensors")
    assert result.returncode == 1
    assert output == "equal=false"
    assert "encoder.layers.1.ffn" in summary


@pytest.mark.parametrize("inputs", [{"REFERENCE": "golden.safetensors"}, {"REFERENCE": "no", "OTHER": "no"}])
def test_what_cannot_be_compared(folder, inputs):
    result, output, _ = run(folder, **inputs)
    assert result.returncode == 2
    assert output == "equal=false"
