import numpy as np
import pytest

from aimv2_np.bench.ceilings import Multiplier, Shape, combined_rate, copy_bandwidth, shapes
from aimv2_np.bench.flops import Product, picture_products
from tests.support.models import vision_config


def test_shapes_of_a_model():
    config = vision_config(num_hidden_layers=3, use_head=False)  # 9 tokens of 16, 20 inside, patches of 48
    found = shapes(picture_products(config, 2, 12, 12))
    assert set(found) == {Shape(18, 48, 16), Shape(18, 16, 16), Shape(18, 16, 20), Shape(18, 20, 16)}
    assert found[Shape(18, 16, 16)] == 3 * 4 * 2 * 18 * 16 * 16


def test_products_inside_attention_have_no_weight():
    assert shapes([Product("scores", 4, 2, 4, 8, per_head=True)]) == {}


def test_equal_shapes_are_one():
    assert shapes([Product("a", 2, 3, 4), Product("b", 2, 3, 4, 2)]) == {Shape(2, 3, 4): 3 * 48}


@pytest.mark.parametrize("size", [(7, 5, 3), (1, 4, 2), (16, 8, 32)])
@pytest.mark.parametrize("threads", [1, 2])
def test_both_ways_multiply(size, threads):
    it = Multiplier(Shape(*size), threads)
    expected = it._x @ it._weight.T
    for way in it.ways.values():
        it._out[:] = np.nan
        way()
        np.testing.assert_allclose(it._out, expected, rtol=1e-5, atol=1e-5)
    assert ("pieces" in it.ways) == (threads == 2 and min(size[0], size[2]) >= 2)
    assert it.rate() > 0


def test_the_combined_rate_is_that_of_one_after_the_other():
    fast, slow = Shape(1, 1, 1), Shape(2, 2, 2)
    assert combined_rate({fast: 100, slow: 100}, {fast: 100.0, slow: 25.0}) == pytest.approx(200 / (1 + 4))


def test_copying_moves_bytes():
    assert copy_bandwidth(2, size=1 << 20) > 0
