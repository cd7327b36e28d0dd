import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.network.patches import PatchEmbed, patch_embed
from tests.support.models import assert_close


def sliding_window(pixels, weight, bias):
    """A convolution with stride P as its definition has it: one window, one output number at a time."""
    batch, channels, height, width = pixels.shape
    size, _, ph, pw = weight.shape
    rows = [
        [
            [
                sum(
                    float(weight[d, c, y, x]) * float(pixels[b, c, top + y, left + x])
                    for c in range(channels)
                    for y in range(ph)
                    for x in range(pw)
                )
                + float(bias[d])
                for d in range(size)
            ]
            for top in range(0, height - ph + 1, ph)
            for left in range(0, width - pw + 1, pw)
        ]
        for b in range(batch)
    ]
    return np.array(rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=30)
@given(
    channels=st.integers(1, 3), patch=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)), batch=st.integers(1, 2), size=st.integers(1, 3),
)  # fmt: skip
def test_equals_a_sliding_window(channels, patch, extra, batch, size, dtype):
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((batch, channels, patch[0] + extra[0], patch[1] + extra[1])).astype(dtype)
    weight, bias = rng.standard_normal((size, channels, *patch)).astype(dtype), rng.standard_normal(size).astype(dtype)
    y = patch_embed(pixels, weight, bias)
    assert y.dtype == dtype
    # At most 28 terms of size one.
    assert_close(y, sliding_window(pixels, weight, bias), ulps=64)


def test_patches_run_row_by_row():
    pixels = np.arange(6.0).reshape(1, 1, 2, 3)
    y = patch_embed(pixels, np.ones((1, 1, 1, 1)), np.zeros(1))
    np.testing.assert_array_equal(y[0, :, 0], [0, 1, 2, 3, 4, 5])


def test_incomplete_rows_and_columns_are_not_seen():
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((2, 3, 2, 4)), rng.standard_normal(2)
    pixels = rng.standard_normal((1, 3, 5, 11))
    y = patch_embed(pixels, weight, bias)
    assert y.shape == (1, 2 * 2, 2)
    pixels[:, :, 4:], pixels[:, :, :, 8:] = np.nan, np.nan
    np.testing.assert_array_equal(patch_embed(pixels, weight, bias), y)


def test_real_grid():
    """480 × 640 pixels with patches of 14 make 34 · 45 = 1530 tokens."""
    y = patch_embed(np.zeros((1, 1, 480, 640)), np.ones((1, 1, 14, 14)), np.full(1, 7.0))
    np.testing.assert_array_equal(y, np.full((1, 1530, 1), 7.0))


def test_module():
    module = PatchEmbed(np.ones((1, 1, 2, 2)), np.array([0.5]))
    np.testing.assert_array_equal(module(np.ones((1, 1, 2, 2))), [[[4.5]]])
