"""Products of few bits."""

import ml_dtypes
import numpy as np
import pytest

from aimv2_np.comparison import compare
from tests.support.models import pixels, vision_model
from tests.support.port import Port, recorded


def tf32(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    bits = bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


class Tf32(Port):
    """Linear maps of whose factors ten bits count; their other numbers are float32's."""

    def product(self, x, weight):
        return super().product(tf32(x), tf32(weight))

    def weight(self, path):
        return tf32(super().weight(path)) if path.endswith("patch_embed") else super().weight(path)

    def pixels(self, pixels):
        return tf32(pixels)


def test_tf32(diagnosed):
    found = diagnosed(Tf32, vision_model(), input_ids=None)
    assert found.identifier == "tf32_products"
    assert found.sentence.startswith("the product in embeddings.patch_embed takes ten bits")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_whole_checkpoint_that_was_rounded_is_one_cause(dtype):
    """With its biases, its table of positions and the head's query: as some runtimes keep a model by default."""
    kept = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[dtype]
    model, given = vision_model(), {"pixel_values": pixels()}
    rounded = model.map(lambda _, array: array.astype(kept).astype(array.dtype))
    result = compare(recorded(model, given), Port(rounded).run(**given), model=model)
    assert result.diagnosis.identifier == f"{dtype}_weights"
    assert "modules of its kind explains all that follows in this tower" in result.explanation
    assert "Something else" not in result.explanation
