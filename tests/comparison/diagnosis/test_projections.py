"""Mistakes in linear maps and in the gated MLP: the sentence names the module and the activation."""

import numpy as np
import pytest

from tests.support import faults
from tests.support.models import vision_model
from tests.support.port import Port


class ChannelsLast(Port):
    """A convolution's weight (D, P, P, C) that was taken for (D, C, P, P)."""

    def weight(self, path):
        weight = super().weight(path)
        return weight.transpose(0, 2, 3, 1).reshape(weight.shape) if path.endswith("patch_embed") else weight


class NoActivation(Port):
    def activation(self, name, x):
        return x


@pytest.mark.parametrize(
    ("port", "identifier", "words"),
    [
        (ChannelsLast, "transposed_weight", "channels"),
        (faults.TransposedWeight, "transposed_weight", "encoder.layers.1.attention.k_proj"),
        (faults.NoPatchBias, "missing_bias", "embeddings.patch_embed"),
        (faults.Relu, "wrong_activation", "relu"),
        (NoActivation, "wrong_activation", "no activation"),
    ],
)
def test_the_sentence_says_where_and_what(diagnosed, port, identifier, words):
    found = diagnosed(port, vision_model(), input_ids=None)
    assert found.identifier == identifier
    assert words in found.sentence


def test_two_kinds_of_gelu(diagnosed):
    found = diagnosed(faults.TanhGelu, vision_model(hidden_act="gelu"), input_ids=None)
    assert found.identifier == "gelu_approximation"
    assert "tanh" in found.sentence


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("hardtanh", lambda x: np.clip(x, -1, 1)),
        ("softplus", lambda x: np.log1p(np.exp(x))),
        ("leaky_relu with a slope of 0.2", lambda x: np.where(x > 0, x, x / 5)),
        ("x²", np.square),
    ],
)
def test_activations_that_no_configuration_names(diagnosed, name, activation):
    class Other(Port):
        def activation(self, name, x):
            return activation(x)

    found = diagnosed(Other, vision_model(), input_ids=None)
    assert found.identifier == "wrong_activation"
    assert f"the activation {name};" in found.sentence


@pytest.mark.parametrize(
    ("change", "identifier"), [(np.negative, "weight_sign"), (np.flip, "weight_reversed"), (np.exp, "wrong_norm_gain")]
)
def test_gains(diagnosed, change, identifier):
    class Other(Port):
        def weight(self, path):
            weight = super().weight(path)
            return change(weight) if path.endswith("rms_norm2") else weight

    found = diagnosed(Other, vision_model(), input_ids=None)
    assert found.identifier == identifier
    assert "rms_norm2" in found.sentence
