"""Any factor of what a half of a layer gives is read from the arrays, and said."""

import numpy as np
import pytest

from tests.support.models import vision_model
from tests.support.port import Port


def scaled(factor, *halves):
    class Scaled(Port):
        def block(self, path, config, x, allowed):
            y = self.norm(f"{path}.rms_norm1", x, config.rms_norm_eps)
            x = x + (factor if "attention" in halves else 1) * self.attention(f"{path}.attention", config, y, allowed)
            y = self.norm(f"{path}.rms_norm2", x, config.rms_norm_eps)
            return x + (factor if "ffn" in halves else 1) * self.ffn(f"{path}.ffn", config, y)

    return Scaled


@pytest.mark.parametrize("factor", [0.001, 0.1, 0.37219, 0.9, 3.0, -0.3])
@pytest.mark.parametrize(
    ("halves", "words"),
    [(["attention"], "attention gives"), (["ffn"], "the MLP gives"), (["attention", "ffn"], "both")],
)
def test_any_factor(diagnosed, factor, halves, words):
    found = diagnosed(scaled(factor, *halves), vision_model(), input_ids=None)
    assert found.identifier == "half_scaled"
    assert f"adds {factor:g} of what {words}" in found.sentence


def test_a_factor_of_a_last_projection(diagnosed):
    class Scaled(Port):
        def linear(self, path, x):
            y = super().linear(path, x)
            return self.keep(path, np.float32(0.7) * y) if path.endswith("down_proj") else y

    found = diagnosed(Scaled, vision_model(), input_ids=None)
    assert found.identifier == "half_scaled"
    assert "down_proj, the last projection, gives 0.7 of" in found.sentence
