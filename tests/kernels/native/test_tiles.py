"""aimv2_np/kernels/native/tiles.c gives what the textbook gives, on a processor with AMX that is modelled."""

import numpy as np
import pytest

from aimv2_np.backends.narrow import Narrow, round_bits
from aimv2_np.kernels.native import library
from aimv2_np.network.linear import linear
from tests.kernels.native.test_bodies import (  # the properties of every instruction set
    same_bits,
    test_bfloat16_that_is_not_finite_stays_so,  # noqa: F401
    test_narrow_weights_give_the_bits_of_wide_ones,  # noqa: F401
    test_patches_with_narrow_weights,  # noqa: F401
    test_products_of_bfloat16,  # noqa: F401
    test_whole_numbers_are_exact,  # noqa: F401
)
from tests.kernels.numpy.test_cpu import arrays
from tests.support.amx import NAME, processor_with
from tests.support.models import both_model, pixels, text_config, tokens, vision_config


@pytest.fixture(scope="module", autouse=True)
def kernels(modelled):
    with processor_with(modelled), library.using(NAME):
        yield


@pytest.fixture(scope="module")
def model():
    """Wider than a tile, and of no whole number of tiles."""
    return both_model(
        vision_config=vision_config(hidden_size=72, intermediate_size=100),
        text_config=text_config(hidden_size=36, intermediate_size=50),
    ).to(dtype="bfloat16")


def test_layers_give_the_same_bits_with_any_number_of_threads(model):
    inputs = tokens(5, 7), pixels(17)
    expected = same_bits(model, *inputs)
    with library.using("plain"):
        plain = model(*inputs)
    np.testing.assert_allclose(expected.image_embeds, plain.image_embeds, atol=0.01)  # numbers rounded to either side


def test_layers_give_the_same_bits_in_any_batch(model):
    together = model.vision_model(pixels(5)).last_hidden_state
    for i in range(5):
        np.testing.assert_array_equal(model.vision_model(pixels(5)[i : i + 1]).last_hidden_state, together[i : i + 1])


def test_a_row_is_the_same_wherever_it_lies():
    """In a tile of its own or among others: rows do not meet, not even where there is NaN in the others."""
    x, weight = arrays(0, "float32", (40, 70), (50, 70))
    narrow = Narrow(round_bits(weight), rounds=True)
    expected = linear(x, narrow)
    for row in (0, 15, 16, 39):
        alone = np.full_like(x, np.nan)
        alone[row] = x[row]
        np.testing.assert_array_equal(linear(alone, narrow)[row], expected[row])
        np.testing.assert_array_equal(linear(x[row : row + 1], narrow)[0], expected[row])
