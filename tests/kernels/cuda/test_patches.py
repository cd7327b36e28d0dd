"""Patch extraction on the device, and the embedding behind it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.kernels.cuda.launch import source
from aimv2_np.kernels.cuda.patches import patch_rows
from aimv2_np.network.patches import patch_embed
from tests.kernels.cuda.arrays import EPS32, LAYOUTS, assert_within, dtypes, eps, exact, normal, sparse_rows
from tests.support.cuda_emulator import emulator


def rows_of(pixels, ph, pw):
    """The textbook's way of cutting."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // ph, width // pw
    cut = pixels[:, :, : rows * ph, : columns * pw].reshape(batch, channels, rows, ph, columns, pw)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * ph * pw)


@settings(max_examples=60)
@given(sizes=st.tuples(*(st.integers(1, 3) for _ in range(4))), patch=st.tuples(st.integers(1, 5), st.integers(1, 5)),
       rest=st.tuples(st.integers(0, 4), st.integers(0, 4)), dtype=dtypes, layout=LAYOUTS)  # fmt: skip
def test_cutting_moves_every_pixel(cupy, sizes, patch, rest, dtype, layout):
    batch, channels, rows, columns = sizes
    shape = (batch, channels, rows * patch[0] + rest[0] % patch[0], columns * patch[1] + rest[1] % patch[1])
    (pixels,) = normal(0, dtype, shape)
    found = patch_rows(layout(cupy, pixels), patch)
    np.testing.assert_array_equal(found.get(), rows_of(pixels, *patch))


@settings(max_examples=20)
@given(dtype=dtypes, height=st.integers(4, 11), width=st.integers(3, 9), layout=LAYOUTS, seed=st.integers(0, 9))
def test_embedding(cupy, dtype, height, width, layout, seed):
    pixels, weight, bias = normal(seed, dtype, (2, 3, height, width), (5, 3, 4, 3), 5)
    y = patch_embed(layout(cupy, pixels), cupy.asarray(weight), cupy.asarray(bias))
    expected = patch_embed.textbook(exact(pixels), exact(weight), exact(bias))
    size = patch_embed.textbook(np.abs(exact(pixels)), np.abs(exact(weight)), np.abs(exact(bias)))
    assert_within(y, expected, 0.51 * eps(dtype) * np.abs(expected) + 64 * EPS32 * size)


def test_pictures_far_apart(tmp_path):
    """More than 2³¹ elements from one picture to the next, in a file without what lies between."""
    if reason := emulator.missing():
        pytest.skip(reason)
    stride = 2**31 + 8
    pixels = sparse_rows(tmp_path / "pixels", 0, (2, 3 * 4 * 4), stride)
    out = np.empty((2, 4, 12), np.float16)
    numbers = [np.int32(it) for it in (3, 2, 2, 2, 2)]
    strides = [np.int64(it) for it in (stride, 16, 4, 1)]
    arguments = [out.ctypes.data, pixels.ctypes.data, *numbers, *strides]
    emulator.launch(emulator.build(source("patches"), "patches<__half>"), [8], [32], arguments, 0)
    np.testing.assert_array_equal(out, rows_of(np.array(pixels[:, :48]).reshape(2, 3, 4, 4), 2, 2))


def test_patches_of_more_pixels_than_threads(cupy):
    (pixels,) = normal(0, "float16", (2, 3, 28, 42))
    found = patch_rows(cupy.asarray(pixels), (14, 14))
    np.testing.assert_array_equal(found.get(), rows_of(pixels, 14, 14))


def test_patches_that_are_not_square(cupy):
    (pixels,) = normal(0, "float16", (2, 3, 10, 12))
    np.testing.assert_array_equal(patch_rows(cupy.asarray(pixels), (5, 3)).get(), rows_of(pixels, 5, 3))
