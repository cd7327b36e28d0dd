"""Mistakes in RMSNorm: which epsilon, which gain, and where the mean is subtracted."""

import numpy as np
import pytest

from tests.support import faults
from tests.support.models import vision_model
from tests.support.port import Port


class OnePlus(Port):
    """Gemma's way to store a gain."""

    def weight(self, path):
        weight = super().weight(path)
        return 1 + weight if path.endswith("norm1") else weight


class EpsilonOutside(Port):
    def normalise(self, path, x, eps):
        return x / (np.sqrt((x * x).mean(-1, keepdims=True)) + x.dtype.type(eps))


@pytest.mark.parametrize(
    ("port", "identifier", "words", "options"),
    [
        (OnePlus, "wrong_norm_gain", "1 + weight", {}),
        (faults.NoGain, "wrong_norm_gain", "leaves out its gain", {}),
        (EpsilonOutside, "wrong_eps", "adds epsilon to the root", {"rms_norm_eps": 0.05}),
        (faults.WrongEps, "wrong_eps", "epsilon", {}),
        (faults.LayerNorm, "mean_centred_norm", "subtracts the mean", {}),
    ],
)
def test_the_sentence_says_what_was_done(diagnosed, port, identifier, words, options):
    found = diagnosed(port, vision_model(**options), input_ids=None)
    assert found.identifier == identifier
    assert words in found.sentence


def test_an_epsilon_that_is_in_no_table(diagnosed):
    class Odd(Port):
        def normalise(self, path, x, eps):
            return super().normalise(path, x, 0.0123)

    assert diagnosed(Odd, vision_model(), input_ids=None).identifier == "wrong_eps"
