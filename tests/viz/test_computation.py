"""What a page keeps of queries, keys and values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np import trace
from aimv2_np.viz.attention import run_with_attention
from aimv2_np.viz.computation import Choice, Computations, choose, head_bytes, pack_vectors
from tests.support.pictures import photo


@given(st.integers(1, 2000), st.integers(1, 128), st.integers(1, 30), st.integers(1, 24), st.integers(-5, 4_000_000))
def test_what_is_chosen_fits_and_is_what_is_wanted_most(tokens, size, layers, heads, budget):
    wanted = list(range(layers))[::-1]
    chosen = choose(tokens, size, wanted, range(heads), budget)
    taken = len(chosen.layers) * len(chosen.heads) * head_bytes(tokens, size, chosen.width)
    assert taken <= max(0, budget)
    assert set(chosen.layers) == set(wanted[: len(chosen.layers)])
    assert chosen.heads == tuple(range(len(chosen.heads)))
    if layers * heads * head_bytes(tokens, size, 1) <= budget:
        assert (len(chosen.layers), len(chosen.heads)) == (layers, heads)
    elif budget >= heads * head_bytes(tokens, size, 1):
        assert taken + heads * head_bytes(tokens, size, 1) > budget  # not one layer more


def test_of_a_large_model_the_layer_that_is_wanted_most():
    """24 layers of 8 heads with 128 numbers each, 256 patches: a third of 3.1 MB."""
    assert choose(256, 128, [11, *range(24)[::-1]], range(8), 1_040_000) == ((11,), tuple(range(8)), 1)
    assert choose(256, 128, [5, 7], range(8), 2_000_000) == ((5, 7), tuple(range(8)), 1)
    assert choose(64, 32, range(4), range(4), 1_000_000) == ((0, 1, 2, 3), (0, 1, 2, 3), 2)
    assert choose(4096, 64, range(4), range(4), 900_000) == ((0,), (0,), 1)
    assert choose(8192, 128, range(4), range(4), 900_000) == ((), (), 1)


@pytest.mark.parametrize(("width", "steps"), [(1, 127), (2, 32767)])
def test_a_vector_is_off_by_half_a_step(width, steps):
    vectors = np.random.default_rng(0).normal(size=(3, 5, 16)) * np.array([1e-3, 1, 50])[:, None, None]
    vectors[1, 2] = 0
    scales, values = pack_vectors(vectors, width)
    assert values.itemsize == width
    off = abs(values * scales[..., None].astype(np.float64) - vectors)
    assert (off <= 0.501 * abs(vectors).max(axis=-1, keepdims=True) / steps).all()  # half a step, and rounding


@pytest.mark.parametrize("width", [1, 2])
def test_the_error_that_is_told_is_the_largest(loaded, width):
    model, processor = loaded
    pixels = processor.image_processor(photo(20, 30))["pixel_values"]
    kept, scores = Computations(Choice((1,), (0, 1), width)), []
    with trace(model.vision_model, "encoder.layers.1.attention.scores", store=lambda _, it: scores.append(it)):
        model.vision_model(pixels)
    run_with_attention(model.vision_model, pixels, range(2), kept.add, kept.add_values)
    scales, values = kept.arrays()
    assert (scales.shape, values.shape) == ((2, 3, 6), (2, 3, 6, 8))
    again = values * scales[..., None].astype(np.float64)  # (head, q k v, token, d)
    found = again[:, 0] @ again[:, 1].swapaxes(-1, -2) * 8**-0.5
    assert abs(found - scores[0][0]).max() == pytest.approx(kept.error, rel=0.02, abs=1e-6)  # scores are float32
    assert 0 < kept.error < {1: 0.5, 2: 2e-3}[width]


def test_nothing_is_kept_where_nothing_fits(loaded):
    model, processor = loaded
    kept = Computations(Choice((), (), 1))
    pixels = processor.image_processor(photo(20, 30))["pixel_values"]
    run_with_attention(model.vision_model, pixels, range(2), kept.add, kept.add_values)
    assert [it.size for it in kept.arrays()] == [0, 0]
