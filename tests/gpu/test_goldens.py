"""Recorded outputs of Transformers, module by module, once more on the device."""

from math import sqrt
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.comparison import Meaning, assert_below, errors, expected_paths, our_activations, widest_sum
from tests.test_goldens import EPS, GOLDENS, load

pytestmark = pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")  # as in tests/test_goldens.py


@pytest.mark.parametrize("as_written", [False, True], ids=["fast", "as written"])
@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_golden(cupy: ModuleType, path: Path, as_written: bool) -> None:
    """The bounds of the CPU's: float32 is float32 here too."""
    model, inputs, theirs, rounding = load(path)
    ours = our_activations(model.to("cupy"), inputs, inner=as_written)
    assert expected_paths(model, inner=as_written) <= set(ours) <= expected_paths(model, inner=True)
    bound = 5 * rounding + 4 * EPS * sqrt(widest_sum(model))
    assert_below(errors(ours, theirs, Meaning.of(model.config, inputs)), bound)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_outputs_alone(cupy: ModuleType, path: Path) -> None:
    """Nothing is traced, so that the blocks run in one go; twice, so that a recorded graph runs too."""
    model, inputs, theirs, rounding = load(path)
    moved, bound = model.to("cupy"), 5 * rounding + 4 * EPS * sqrt(widest_sum(model))
    for _ in range(3):
        outputs = moved(**inputs)
        ours = {
            name: array.get() for name, array in outputs.items() if name in theirs and isinstance(array, cupy.ndarray)
        }
        assert ours
        assert_below(errors(ours, theirs, Meaning.of(model.config, inputs)), bound)
