"""The composite action: its steps, run as plain commands."""

import os
import re
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


def test_its_inputs_are_options_of_the_command(folder):
    golden = Recording.load(folder / "golden.safetensors")
    vision_model().save_pretrained(folder / "model")
    some = {path: 1.0001 * golden.activations[path] for path in golden.order if path.endswith(".ffn")}
    record_arrays(some, folder / "mine.safetensors")
    inputs = {"REFERENCE": "golden.safetensors", "OTHER": "mine.safetensors", "MODEL": "model"}
    for more, code in (
        ({}, 1),
        ({"RTOL": "1e-9\n*.ffn=1e-3"}, 2),  # less than half of the modules
        ({"DTYPE": "float16"}, 2),
        ({"RTOL": "1e-3", "PARTIAL": "true"}, 0),
        ({"RTOL": "1e-3", "REQUIRE": "*.ffn\n"}, 0),
        ({"RTOL": "1e-3", "REQUIRE": "*.ffn\nrms_norm"}, 2),
    ):
        result, output, _ = run(folder, **inputs, **more)
        assert result.returncode == code, (more, result.stdout + result.stderr)
        assert output == f"equal={str(code == 0).lower()}"


PORT = """#!{python}
# An implementation of its own: it dumps what its MLPs and its last norm compute, under names of its own.
import sys
import numpy as np
sys.path.insert(0, {root!r})
from aimv2_np.storage import save_safetensors
from tests.support.models import pixels, vision_model
from tests.support.port import Port

option, target, picture = sys.argv[1:]
assert option == "--dump-activations" and open(picture)
out = Port(vision_model()).run(pixel_values=pixels())
arrays = {{f"layer{{i}}.mlp_out": out[f"encoder.layers.{{i}}.ffn"] for i in range(2)}}
save_safetensors(target, arrays | {{"rms_norm": {factor} * out["rms_norm"].astype(np.float32)}})
"""
TEST = """
import numpy as np
from safetensors.numpy import load_file

def test_the_norm(assert_matches_golden):
    assert_matches_golden("rms_norm", load_file("mine.safetensors")["rms_norm"], rtol=1e-4)
"""


@pytest.mark.parametrize(("factor", "codes"), [("1", (0, 0, 0)), ("1.01", (0, 1, 1))])
def test_the_workflow_of_the_page_as_plain_commands(folder, factor, codes):
    """A repository as docs/verify.md describes it: its workflow's steps, one after the other, as they stand there."""
    yaml = pytest.importorskip("yaml")
    page = (ROOT / "docs" / "verify.md").read_text("utf-8")
    workflow = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    steps = workflow["jobs"]["golden"]["steps"]
    (folder / "my-aimv2").write_text(PORT.format(python=sys.executable, root=str(ROOT), factor=factor))
    (folder / "my-aimv2").chmod(0o755)
    (folder / "cat.png").write_bytes(b"a picture")
    (folder / "tests").mkdir()
    (folder / "golden.safetensors").rename(folder / "tests" / "golden.safetensors")
    (folder / "tests" / "test_mine.py").write_text(TEST)
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    # the entry point of the plugin, which an installed package has
    plugin = {"PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "-p aimv2_np.comparison.pytest_plugin -p no:aimv2_np"}
    found = []
    for step in steps:
        if "actions/verify" in step.get("uses", ""):
            result, _, _ = run(folder, **{name.upper(): value for name, value in step["with"].items()})
            found.append(result.returncode)
        elif "run" in step:
            path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
            environment = os.environ | {"PATH": path} | plugin
            command = ["bash", "-ec", step["run"]]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            found.append(done.returncode)
    assert tuple(found) == codes
    assert (folder / "golden.html").read_text("utf-8").lower().startswith("<!doctype html>")
