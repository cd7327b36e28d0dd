"""Each cause of a wrong gradient, planted in a derivative, is named; and where."""

import numpy as np
import pytest

from aimv2_np.comparison import compare
from aimv2_np.recording import record
from tests.support.backward_faults import PLANTED
from tests.support.models import both_model, pixels, text_model, tokens, vision_model

BOTH = {"pixel_values": pixels(3), "input_ids": tokens(3, 7, seed=1)}


@pytest.fixture(scope="module")
def model():
    trunk = {"qkv_bias": True, "mlp_bias": True}
    return both_model(
        vision_config=vision_model(use_head=True, **trunk).config,
        text_config=text_model(hidden_size=15, **trunk).config,
        projection_dim=15,
    )


@pytest.fixture(scope="module")
def reference(model, tmp_path_factory):
    return record(model, BOTH, tmp_path_factory.mktemp("reference") / "a.safetensors", gradients=True)


@pytest.mark.parametrize("name", PLANTED)
def test_named(name, model, reference, tmp_path):
    identifier, planting, place = PLANTED[name]
    with planting(lambda path: path.endswith(place)):
        other = record(model, BOTH, tmp_path / "b.safetensors", gradients=True)
    for path in reference.forward.order:  # the mistake is in the derivative alone
        np.testing.assert_array_equal(other.array(path), reference.array(path))
    result = compare(reference, other, model=model)
    assert not result.equal
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == identifier, result.explanation
    assert "It explains all gradients." in result.explanation
    assert result.diagnosis.explained > 0.99
