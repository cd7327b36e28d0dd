"""Patch extraction on the device, and the embedding behind it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.kernels.cuda.launch import source
from aimv2_np.kernels.cuda.patches import embed_pictures, patch_rows
from aimv2_np.network.patches import patch_embed
from tests.kernels.cuda.arrays import DTYPES, EPS32, LAYOUTS, assert_within, dtypes, eps, exact, normal, sparse_rows
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
    found = patch_rows(layout(cupy, pixels), patch, pixels.dtype)
    np.testing.assert_array_equal(found.get(), rows_of(pixels, *patch))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_pictures_of_bytes(cupy, dtype, channels_last):
    """Normalised while they are cut; as decoders lay them out, too."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 3, 10, 13), dtype=np.uint8)
    mean, std = np.array([0.48, 0.46, 0.41]), np.array([0.27, 0.26, 0.28])
    weight, bias = normal(0, dtype, (6, 3, 4, 4), 6, scale=0.2)
    device = cupy.asarray(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    y = embed_pictures(device if channels_last else cupy.asarray(pixels), cupy.asarray(weight), cupy.asarray(bias),
                       cupy.asarray(mean), cupy.asarray(std))  # fmt: skip
    normalised = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    expected = patch_embed.textbook(normalised, exact(weight), exact(bias))
    # Each of 48 pixels is rounded to the type, and so is the result.
    size = rows_of(np.abs(normalised), 4, 4) @ np.abs(exact(weight)).reshape(6, -1).T
    assert_within(y, expected, eps(dtype) * (size + 1) + 64 * EPS32 * size)


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
    arguments = [out.ctypes.data, pixels.ctypes.data, 0, 0, *numbers, *strides]
    emulator.launch(emulator.build(source("patches"), "patches<__half, __half>"), [8], [32], arguments, 0)
    np.testing.assert_array_equal(out, rows_of(np.array(pixels[:, :48]).reshape(2, 3, 4, 4), 2, 2))


def test_patches_of_more_pixels_than_threads(cupy):
    (pixels,) = normal(0, "float16", (2, 3, 28, 42))
    found = patch_rows(cupy.asarray(pixels), (14, 14), pixels.dtype)
    np.testing.assert_array_equal(found.get(), rows_of(pixels, 14, 14))
