"""Where faults are planted: what is needed for that, and that is said where it is missing."""

import numpy as np
import pytest

from aimv2_np.comparison import compare
from tests.support import faults
from tests.support.models import pixels, vision_model
from tests.support.port import recorded

GIVEN = {"pixel_values": pixels()}


def test_without_the_model_it_is_said_that_more_could_be_tested():
    model = vision_model()
    result = compare(recorded(model, GIVEN), faults.NoScale(model).run(**GIVEN))
    assert result.diagnosis is None
    assert "--model" in result.explanation


@pytest.mark.parametrize("known", ["encoder.layers.0", "encoder.layers.1.rms_norm1", "encoder.layers.1.attention"])
def test_from_the_last_place_that_was_right(known):
    """Of the other side one place is known that agrees, and one behind it that does not."""
    model = vision_model()

    class Once(faults.GateUpSwapped):
        def gate_and_up(self, path):
            return super().gate_and_up(path) if "layers.1" in path else ("gate_proj", "up_proj")

    other = Once(model).run(**GIVEN)
    result = compare(recorded(model, GIVEN), {path: other[path] for path in (known, "encoder.layers.1")}, model=model)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == "gate_up_swapped"
    assert "encoder.layers.1.ffn" in result.explanation


def test_what_no_module_computes():
    model = vision_model()
    reference = recorded(model, GIVEN) | {"else.where": np.ones(3, np.float32)}
    result = compare(reference, {**reference, "else.where": np.zeros(3, np.float32)}, model=model)
    assert result.diagnosis is None
    assert result.first.path == "else.where"
