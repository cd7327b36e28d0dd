import numpy as np
import pytest

from aimv2_np.comparison import compare
from tests.support import faults
from tests.support.models import both_model, pixels, tokens, vision_model
from tests.support.port import Port, recorded


class Once(faults.GateUpSwapped):
    """In the first block alone."""

    def gate_and_up(self, path):
        return super().gate_and_up(path) if "layers.0" in path else ("gate_proj", "up_proj")


class AndMore(faults.GateUpSwapped):
    """And the last norm without its gain."""

    def weight(self, path):
        weight = super().weight(path)
        return np.ones_like(weight) if path == "rms_norm" else weight


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (Once, "It explains all that follows"),
        (faults.GateUpSwapped, "in all 2 modules like it explains all that follows"),
        (AndMore, "Something else is wrong from rms_norm on"),
        (faults.NoHeadBias, "is left."),  # nothing follows
    ],
)
def test_it_is_said_how_far_a_fault_reaches(port, words):
    model, given = vision_model(), {"pixel_values": pixels()}
    other = {path: array for path, array in port(model).run(**given).items() if "output_proj" not in path}
    result = compare(recorded(model, given), other, model=model)
    assert result.diagnosis is not None
    assert words in result.explanation, result.explanation


@pytest.mark.parametrize(
    ("port", "words"), [(faults.GateUpSwapped, "exchanges gate and up"), (faults.NoScale, "leaves out the scale")]
)
def test_behind_another_input_the_next_cause_is_named(port, words):
    model, given = both_model(), {"pixel_values": pixels(), "input_ids": tokens()}
    theirs = {"pixel_values": given["pixel_values"][..., ::-1], "input_ids": given["input_ids"][:, ::-1]}
    result = compare(recorded(model, given), port(model).run(**{**given, **theirs}), model=model)
    assert result.diagnosis.identifier == "flipped"
    explanation = result.explanation
    assert "Apart from that, inputs/input_ids differs" in explanation
    assert "texts run from the last token to the first" in explanation
    assert explanation.count(words) == 2  # in both towers
    assert result.diagnosis.change in explanation


def test_another_input_alone_explains_all():
    model, given = both_model(), {"pixel_values": pixels(), "input_ids": tokens()}
    other = Port(model).run(**{**given, "pixel_values": given["pixel_values"][..., ::-1]})
    result = compare(recorded(model, given), other, model=model)
    assert result.diagnosis.identifier == "flipped"
    assert "Apart from that" not in result.explanation
