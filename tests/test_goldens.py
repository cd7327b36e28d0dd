"""Recorded outputs of Transformers, module by module, without PyTorch (`tests/tools/record_goldens.py` made them)."""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from aimv2_np.config import config_from_dict
from aimv2_np.storage import SafetensorsFile
from tests.support.comparison import (
    Meaning,
    assert_below,
    errors,
    expected_paths,
    our_activations,
    widest_sum,
)
from tests.support.strategies import MODELS
from tests.support.tally import compared

# Texts with and without an end: both are what Transformers computes.
pytestmark = pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")

GOLDENS = sorted((Path(__file__).parent / "goldens").glob("*.safetensors"))
EPS = float(np.finfo(np.float32).eps)


def load(path: Path) -> tuple[Any, dict[str, Any], dict[str, Any], float]:
    """Our model with the weights of a golden, the inputs, Transformers' outputs by path, and its rounding error."""
    file = SafetensorsFile(path)
    with safe_open(path, "numpy") as golden:
        metadata = golden.metadata()
        parts = {
            part: {key.removeprefix(part): golden.get_tensor(key) for key in golden.keys() if key.startswith(part)}  # noqa: SIM118
            for part in ("inputs/", "outputs/")
        }
    config = config_from_dict(json.loads(metadata["config"]))
    model = MODELS[type(config)].skeleton(config).map(lambda name, _: file.read(f"weights/{name}"))
    return model, parts["inputs/"], parts["outputs/"], float(metadata["rounding"])


def test_there_are_about_twenty() -> None:
    assert len(GOLDENS) >= 20


@pytest.mark.parametrize("as_written", [False, True], ids=["fast", "as written"])
@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_golden(path: Path, as_written: bool) -> None:
    """Both sides round in float32: theirs by what was measured, ours by at most four times that plus 4 ε √n."""
    model, inputs, theirs, rounding = load(path)
    ours = our_activations(model, inputs, inner=as_written)
    assert set(ours) == expected_paths(model, inner=as_written)
    bound = 5 * rounding + 4 * EPS * sqrt(widest_sum(model))
    assert bound < 1e-4, "a golden that rounding alone can change this much proves nothing"
    found = errors(ours, theirs, Meaning.of(model.config, inputs))
    assert_below(found, bound)
    compared("goldens", found, bound)


@pytest.mark.parametrize("path", [p for p in GOLDENS if p.stem.startswith("both")], ids=lambda path: path.stem)
def test_a_changed_weight_is_noticed(path: Path) -> None:
    """The comparison itself: one gain of one norm changed by a thousandth shows in that norm and after it."""
    model, inputs, theirs, rounding = load(path)
    changed = "vision_model.encoder.layers.1.rms_norm2"
    broken = model.map(lambda name, array: array * np.float32(1.001) if name == f"{changed}.weight" else array)
    found = errors(our_activations(broken, inputs, inner=False), theirs, Meaning.of(model.config, inputs))
    above = [name for name, error in found.items() if error > 5 * rounding + 4 * EPS * sqrt(widest_sum(model))]
    assert above[0] == changed
