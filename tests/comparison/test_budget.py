"""aimv2_np/comparison/budget.py: which layers of a quantised engine to keep in float."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aimv2_np.backends.narrow import to_int8
from aimv2_np.cli.app import app
from aimv2_np.comparison import compare
from aimv2_np.comparison.budget import unit_of
from aimv2_np.comparison.measure import smallest_cosine
from aimv2_np.recording import record
from tests.comparison.test_forcing import INPUTS

pytestmark = pytest.mark.usefixtures("no_search")


def quantised(model, coarse=()):
    """Every matrix in int8, those of some layers in a quarter of its steps."""

    def round_to(path, array):
        if array.ndim != 2:
            return array
        steps = 16 if unit_of(path) in coarse else 1
        narrow = to_int8(array)
        return (np.rint(narrow.numbers / steps) * steps * narrow.scale[:, None]).astype(np.float32)

    return model.map(round_to)


@pytest.fixture(params=["both", "vision", "text"])
def engine(request, tmp_path):
    """A model, its recording, and the recording of one that is coarse in two layers."""
    make, inputs = INPUTS[request.param]
    model = make()
    prefix = "vision_model." if request.param == "both" else ""
    coarse = [
        f"{prefix}encoder.layers.1",
        "text_projection" if request.param == "both" else f"{prefix}encoder.layers.0",
    ]
    model.save_pretrained(tmp_path / "model")
    ours = record(model, inputs, tmp_path / "ours.safetensors")
    theirs = record(quantised(model, coarse), inputs, tmp_path / "theirs.safetensors")
    return model, inputs, coarse, ours, theirs, tmp_path


def test_the_coarse_layers_are_to_be_kept(engine):
    model, inputs, coarse, ours, theirs, _ = engine
    result = compare(ours, theirs, model=model, budget=0.9999)
    budget = result.budget
    assert set(budget.keep[:2]) == set(coarse)
    assert budget.now < 0.9999 <= budget.then
    names = [path for path in ours.order if path.endswith("_embeds")] or ["pooler_output"]
    now = min(smallest_cosine(ours.activations[name], theirs.activations[name]) for name in names)
    assert budget.now == pytest.approx(now, abs=1e-6)  # what the engine really gives
    kept = model.map(
        lambda path, array: array if unit_of(path) in budget.keep else quantised(model, coarse).state_dict()[path]
    )
    then = kept(**inputs)
    exact = model(**inputs)
    then = min(smallest_cosine(exact[name], then[name]) for name in names)
    assert budget.then == pytest.approx(then, abs=2e-4)  # an engine that keeps them


def test_what_is_enough_needs_nothing(engine):
    model, _, _, ours, theirs, _ = engine
    budget = compare(ours, theirs, model=model, budget=0.1).budget
    assert budget.keep == ()
    assert budget.then == budget.now
    assert compare(ours, theirs, model=model, budget=1.0).budget.then > 0.999999
    assert compare(ours, theirs, model=model).budget is None
    assert compare(dict(ours.activations), theirs, budget=0.9).budget is None


def test_the_command_says_it(engine):
    *_, coarse, _, _, folder = engine
    paths = [str(folder / f"{name}.safetensors") for name in ("ours", "theirs")]
    arguments = ["compare", *paths, "--model", str(folder / "model"), "--budget", "0.9999"]
    said = " ".join(CliRunner().invoke(app, arguments).stdout.split())
    assert "in float: " in said
    assert all(layer in said for layer in coarse)
    assert set(coarse) <= set(json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["budget"]["keep"])
    assert CliRunner().invoke(app, [*arguments[:-1], "2"]).exit_code == 2
