"""A tower as a chain of stages: a fault in any of them is found, also in those that have no module of their own."""

import numpy as np
import pytest

from tests.support import faults
from tests.support.models import both_model, pixels, text_model, tokens, vision_model
from tests.support.port import Port


def without_gain(path):
    """A port that leaves out the gain of one norm."""

    class One(Port):
        def weight(self, name):
            weight = super().weight(name)
            return np.ones_like(weight) if name == path else weight

    return One


@pytest.mark.parametrize(
    "path",
    [
        "vision_model.embeddings.rms_norm", "vision_model.encoder.layers.1.rms_norm2", "vision_model.rms_norm",
        "text_model.encoder.layers.0.rms_norm1", "text_model.rms_norm",
    ],
)  # fmt: skip
def test_a_fault_in_any_stage_is_found_there(diagnosed, path):
    found = diagnosed(without_gain(path), both_model())
    assert found.identifier == "wrong_norm_gain"
    assert path in found.sentence


@pytest.mark.parametrize(
    ("model", "given"),
    [(vision_model(), {"input_ids": None}), (text_model(), {"pixel_values": None})],
    ids=["vision", "text"],
)
def test_each_tower_alone(diagnosed, model, given):
    assert diagnosed(faults.GateUpSwapped, model, **given).identifier == "gate_up_swapped"


@pytest.mark.parametrize("size", [(12, 12), (8, 20)])
def test_native_pictures_of_any_shape(diagnosed, size):
    model = vision_model(is_native=True, use_head=False)
    given = {"pixel_values": pixels(height=size[0], width=size[1]), "input_ids": None}
    assert diagnosed(faults.NoScale, model, **given).identifier == "missing_scale"


def test_short_texts(diagnosed):
    assert diagnosed(faults.NotCausal, input_ids=tokens(3, 4)[:2]).identifier == "text_not_causal"
