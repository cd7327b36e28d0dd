"""Products of few bits."""

import numpy as np

from tests.support.models import vision_model
from tests.support.port import Port


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
