import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.attention import softmax
from aimv2_np.viz import attention_rollout
from aimv2_np.viz.atlas import FEWER, HEADS_OF, MEAN, ROLLOUT, Atlas, map_bytes, pack, plan
from aimv2_np.viz.attention import run_with_attention

BUDGET = 3_000_000


def size_of(chosen, tokens, heads):
    maps = len(chosen.layers) + heads * len(chosen.with_heads) + 1
    return maps * map_bytes(tokens, chosen.kept)


@given(st.integers(1, 4096), st.integers(1, 40), st.integers(1, 24))
def test_what_is_planned_fits(tokens, layers, heads):
    chosen = plan(tokens, layers, heads, BUDGET)
    assert size_of(chosen, tokens, heads) <= BUDGET
    assert 1 <= chosen.kept <= tokens
    assert set(chosen.with_heads) <= set(chosen.layers)
    for several in (chosen.layers, chosen.with_heads):
        assert list(several) == sorted(set(several))
        assert not several or several[-1] == layers - 1


def test_everything_of_a_small_picture_and_less_of_a_large_one():
    assert plan(64, 4, 4, BUDGET) == ((0, 1, 2, 3), (0, 1, 2, 3), 64)
    middle = plan(256, 24, 8, BUDGET)
    assert (len(middle.layers), len(middle.with_heads)) == (24, 24)
    large = plan(1024, 24, 8, BUDGET)
    assert len(large.layers) == 24
    assert len(large.with_heads) >= HEADS_OF
    assert large.kept >= FEWER[-1]
    assert len(plan(8192, 24, 8, BUDGET).layers) < 24
    with pytest.raises(ValueError, match="too many for a page"):
        plan(100_000, 24, 8, BUDGET)


@given(st.integers(2, 40), st.integers(0, 99), st.booleans())
def test_what_is_packed_is_off_by_half_a_step(tokens, seed, whole):
    weights = softmax(np.random.default_rng(seed).normal(0, 3, (tokens, tokens)).astype(np.float32))
    kept = tokens if whole else tokens - 1
    places, tops, values = pack(weights, kept)
    np.testing.assert_array_equal(tops, weights.max(axis=1))
    again = values / 255 * tops[:, None]
    expected = weights if whole else np.take_along_axis(weights, places.astype(int), axis=1)
    assert (abs(again - expected) <= tops[:, None] / 255 * 0.5001).all()  # 0.5, and float32
    if not whole:
        left_out = weights.sum(axis=1) - expected.sum(axis=1)
        np.testing.assert_allclose(left_out, weights.min(axis=1), atol=1e-6)


def test_a_row_of_nothing():
    _, tops, values = pack(np.zeros((2, 2), np.float32), 2)
    assert not tops.any()
    assert not values.any()


@pytest.mark.parametrize(("tokens", "size"), [(200, 1), (257, 2)])
def test_places_are_as_small_as_they_can_be(tokens, size):
    places, _, _ = pack(np.eye(tokens, dtype=np.float32), 3)
    assert places.itemsize == size
    np.testing.assert_array_equal(places[:, 0], np.arange(tokens))


def test_maps_are_the_model_s(loaded):
    model, processor = loaded
    pixels = processor.image_processor(np.full((20, 30, 3), 9, np.uint8) + np.arange(30, dtype=np.uint8)[:, None])
    atlas = Atlas(2, BUDGET)
    run_with_attention(model.vision_model, pixels["pixel_values"], range(2), atlas.add)
    atlas.finish()
    assert atlas.names == [(0, 0), (0, 1), (0, MEAN), (1, 0), (1, 1), (1, MEAN), (1, ROLLOUT)]
    attentions = model.vision_model(pixels["pixel_values"], output_attentions=True).attentions
    expected = [*attentions[0][0], attentions[0][0].mean(axis=0), *attentions[1][0], attentions[1][0].mean(axis=0)]
    expected.append(attention_rollout(model, pixels["pixel_values"])[0])
    for (_, tops, values), weights in zip(atlas.packed, expected, strict=True):
        np.testing.assert_allclose(values / 255 * tops[:, None], weights, atol=0.51 / 255)
