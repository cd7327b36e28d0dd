"""A small two-tower model with biases, its inputs, and a recording of it with gradients."""

import numpy as np
import pytest

from aimv2_np.recording import record
from tests.support.models import both_model, pixels, text_model, tokens, vision_model


@pytest.fixture(scope="session")
def model():
    trunk = {"qkv_bias": True, "mlp_bias": True}
    return both_model(
        vision_config=vision_model(use_head=True, **trunk).config,
        text_config=text_model(hidden_size=15, **trunk).config,
        projection_dim=15,
    )


@pytest.fixture(scope="session")
def inputs():
    return {"pixel_values": pixels(3), "input_ids": tokens(3, 7, seed=1)}


@pytest.fixture(scope="session")
def reference(model, inputs, tmp_path_factory):
    return record(model, inputs, tmp_path_factory.mktemp("reference") / "a.safetensors", gradients=True)


@pytest.fixture
def recorded(model, inputs, reference, tmp_path):
    """Records the other side, whose activations must be the reference's: a mistake is in the derivative alone."""

    def make(**options):
        other = record(model, inputs, tmp_path / "b.safetensors", gradients=True, overwrite=True, **options)
        for path in other.forward.order:
            np.testing.assert_array_equal(other.array(path), reference.array(path))
        return other

    return make
