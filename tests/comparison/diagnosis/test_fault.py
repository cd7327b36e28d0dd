"""A module with a fault is a copy: what it was made of computes as before."""

import numpy as np
import pytest

from aimv2_np import trace
from aimv2_np.comparison.diagnosis.fault import Fault, computing, holding, with_fields, with_forward
from aimv2_np.comparison.diagnosis.search import FAULTS
from aimv2_np.network.rms_norm import RMSNorm
from tests.support.models import both_model, pixels, vision_model

MODULES = dict(both_model().named_modules())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.identifier}: {fault.sentence[:40]}")
def test_every_sentence_can_be_said_of_a_module_of_its_kind(fault):
    path, module = next((path, module) for path, module in MODULES.items() if type(module) is fault.kind)
    alone, several = fault.sentence_for({path: module}), fault.sentence_for({path: module, "other": module})
    assert path in alone
    assert "{" not in alone
    assert several == f"{alone} (and so do 1 more like it)"


def test_a_fault_is_planted_in_a_copy():
    norm = MODULES["vision_model.rms_norm"]
    x = pixels()[..., :16].reshape(-1, norm.weight.shape[0])
    right = norm(x)
    fault = Fault("x", RMSNorm, "{path}", holding(eps=lambda m: m.eps + 1))
    assert fault.plant(norm, "rms_norm", None).eps == norm.eps + 1
    zero = computing(lambda m, x: 0 * x)(norm, "rms_norm", None)
    assert not zero(x).any()
    assert (norm(x) == right).all()


def test_other_values_in_some_fields():
    ffn = vision_model().encoder.layers[0].ffn
    gate = ffn.gate_proj
    changed = with_fields(ffn, gate_proj=ffn.up_proj, up_proj=gate)
    assert (changed.gate_proj, changed.up_proj) == (ffn.up_proj, gate)
    assert ffn.gate_proj is gate
    assert type(changed) is type(ffn)


def test_another_forward_under_the_same_path():
    model = vision_model()
    norm = model.encoder.layers[0].rms_norm1
    model.encoder.layers[0].rms_norm1 = with_forward(norm, lambda m, x: x * m.eps)
    with trace(model) as activations:
        model(pixels())
    before = activations["embeddings"]
    np.testing.assert_array_equal(activations["encoder.layers.0.rms_norm1"], before * norm.eps)
    assert not np.array_equal(norm(before), before * norm.eps)
