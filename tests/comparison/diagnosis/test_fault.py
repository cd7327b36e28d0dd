"""A module with a fault is a copy: what it was made of computes as before."""

import numpy as np

from aimv2_np import trace
from aimv2_np.comparison.diagnosis.fault import with_fields, with_forward
from tests.support.models import pixels, vision_model


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
