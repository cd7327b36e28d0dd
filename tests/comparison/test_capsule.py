"""aimv2_np/comparison/capsule.py: one module, alone, computed anew without this package."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from aimv2_np.comparison.capsule import SCRIPTS, write_capsule
from aimv2_np.comparison.forcing import force
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.tree.module import Module
from tests.comparison.test_forcing import INPUTS
from tests.support.models import text_model, tokens, vision_model
from tests.support.paths import ROOT


def steps_of(model, inputs, causal=True):
    """Every step of a model, on what another side gave it that is one per cent larger everywhere."""
    context = SimpleNamespace(model=model, causal=causal, input=inputs.get, base={})
    found = []
    force(context, lambda path, expected: np.float32(1.01) * expected, found.append)
    return [step for step in found if step.module is not None]


def reproduced(step, folder):
    """What the script computes, and the relative errors of what is expected, and of what was found, from it."""
    write_capsule(step, folder, overwrite=True)
    source = (folder / "reproduce.py").read_text().replace('"capsule.npz"', repr(str(folder / "capsule.npz")))
    values, said = {}, io.StringIO()
    with redirect_stdout(said), np.errstate(all="ignore"):
        exec(source, values)
    return values["y"], *(float(line.split()[1]) for line in said.getvalue().splitlines())


def some_of_each(steps):
    """One step for each kind of module."""
    return {type(step.module): step for step in steps}.values()


@pytest.mark.parametrize("name", INPUTS)
def test_every_kind_of_module_is_reproduced(tmp_path, name):
    make, inputs = INPUTS[name]
    steps = list(some_of_each(steps_of(make(), inputs)))
    assert len(steps) > 7
    for step in steps:
        _, expected, found = reproduced(step, tmp_path)
        assert expected < 1e-6, step.path
        assert 1e-3 < found < 1, step.path
        assert "aimv2_np" not in (tmp_path / "reproduce.py").read_text()


def test_all_modules_of_the_network_have_a_script():
    kinds = {type(step.module) for make, inputs in INPUTS.values() for step in steps_of(make(), inputs)}
    assert kinds <= SCRIPTS.keys()


WHOLE = {"Aimv2", "Encoder", "TextTower", "VisionTower"}  # which are no steps: their parts are
WHOLE |= {"CaptionEmbeddings", "Decoder", "Pretraining", "AttentiveProbe", "BatchNorm"}  # of training: no port has them


def test_every_kind_of_module_has_a_script_be_it_in_no_released_model():
    files = [path.stem for path in (ROOT / "aimv2_np" / "network").glob("*.py")]
    modules = [import_module(f"aimv2_np.network.{name}") for name in files if name != "__init__"]
    kinds = {
        it for module in modules for it in vars(module).values() if isinstance(it, type) and issubclass(it, Module)
    }
    missing = {it.__name__ for it in kinds - SCRIPTS.keys() - {Module}} - WHOLE
    assert not missing, f"{missing}: write a script into SCRIPTS of aimv2_np/comparison/capsule.py"


def test_padding(tmp_path):
    inputs = {"input_ids": tokens(2, 6), "attention_mask": np.array([[1, 1, 1, 1, 0, 0], [1] * 6])}
    for step in some_of_each(steps_of(text_model(), inputs)):
        assert reproduced(step, tmp_path)[1] < 1e-6


@pytest.mark.parametrize("hidden_act", ACTIVATIONS)
def test_every_activation(tmp_path, hidden_act):
    steps = steps_of(vision_model(hidden_act=hidden_act), INPUTS["vision"][1])
    step = next(step for step in steps if step.path.endswith(".ffn"))
    y, *_ = reproduced(step, tmp_path)
    np.testing.assert_allclose(y, step.module(*step.arguments), rtol=1e-5, atol=1e-6)


def test_a_leaf_takes_ten_lines_and_runs_where_it_lies(tmp_path):
    make, inputs = INPUTS["vision"]
    write_capsule(next(step for step in steps_of(make(), inputs) if step.path.endswith("up_proj")), tmp_path)
    lines = [line for line in (tmp_path / "reproduce.py").read_text().splitlines()[1:] if line]
    assert len(lines) <= 11
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", "reproduce.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["expected", "found"]


def test_what_is_there_is_not_overwritten(tmp_path):
    make, inputs = INPUTS["text"]
    step = steps_of(make(), inputs)[0]
    write_capsule(step, tmp_path)
    with pytest.raises(FileExistsError, match="exists already"):
        write_capsule(step, tmp_path)
    write_capsule(step, tmp_path, overwrite=True)
