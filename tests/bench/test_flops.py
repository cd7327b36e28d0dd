from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np import Aimv2Model, Aimv2TextModel, Aimv2VisionModel, textbook
from aimv2_np.bench.flops import Product, picture_products, products, text_products, total_flops
from aimv2_np.bench.models import ARCHITECTURES
from aimv2_np.config import Aimv2TextConfig
from aimv2_np.kernels.ends import vectors_of_ends
from aimv2_np.network.text import text_vectors
from tests.support.counting import count
from tests.support.models import both_config, pixels, text_config, tokens, vision_config


@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(1, 3), st.integers(1, 3))
def test_pictures_are_counted_as_they_are_multiplied(batch, layers, head, rows, columns):
    config = vision_config(num_hidden_layers=layers, use_head=head, is_native=True)
    model = Aimv2VisionModel(config)
    height, width = 4 * rows + 1, 4 * columns  # a row of pixels too many
    with textbook():
        counted = count(model, pixels(batch, height, width))
    assert total_flops(picture_products(config, batch, height, width)) == counted


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 3))
def test_texts_are_counted_as_they_are_multiplied(batch, length, layers):
    config = text_config(num_hidden_layers=layers)
    with textbook():
        counted = count(Aimv2TextModel(config), tokens(batch, length))
    assert total_flops(text_products(config, batch, length)) == counted


def test_projections_of_two_towers_count_too():
    config = both_config()
    model = Aimv2Model(config)
    with textbook(), patch.object(text_vectors, "textbook", vectors_of_ends):  # which is what the faster bodies do
        pictures = count(model, pixels(2), call="get_image_features")
        texts = count(model, tokens(3, 5), call="get_text_features")
    given = {"kind": "pictures", "height": 12, "width": 12}
    assert total_flops(products(config, given, 2)) == pictures
    assert total_flops(products(config, {"kind": "texts", "tokens": 5}, 3)) == texts


def test_large_is_165_gflop():
    large = ARCHITECTURES["large-224"].config()
    assert total_flops(picture_products(large, 1, 224, 224)) / 1e9 == pytest.approx(165, abs=0.5)
    assert total_flops(picture_products(large, 32, 224, 224)) == 32 * total_flops(picture_products(large, 1, 224, 224))
    text = total_flops(text_products(Aimv2TextConfig(), 64, 16))
    assert text / 1e9 == pytest.approx(64 * 16 * 12 * 2 * (4 * 768**2 + 3 * 768 * 2048) / 1e9, rel=0.01)


def test_a_product():
    assert Product("x", 2, 3, 5, 7).flops == 2 * 2 * 3 * 5 * 7
