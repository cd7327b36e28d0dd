"""Patch embedding on the device: one kernel makes rows of the patches, one product maps them."""

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda.launch import block_threads, computes, element, launch
from aimv2_np.kernels.cuda.linear import linear_rows
from aimv2_np.network.patches import patch_embed
from aimv2_np.shapes import Array, Float


def patch_embed_rows(pixels: Array, weight: Array, bias: Array) -> Array:
    """The rows of all patches, then one product."""
    if not computes(pixels, weight, bias):
        return patch_embed.textbook(pixels, weight, bias)
    size, channels, ph, pw = weight.shape
    return linear_rows(patch_rows(pixels, (ph, pw)), weight.reshape(size, channels * ph * pw), bias)


def patch_rows(pixels: Array, patch: tuple[int, int]) -> Float[Array, "B N CPP"]:
    """(B, C, height, width) -> (B, rows·columns, C·ph·pw)."""
    (batch, channels, height, width), (ph, pw) = pixels.shape, patch
    rows, columns, size = height // ph, width // pw, channels * ph * pw
    out = namespace(pixels).empty((batch, rows * columns, size), pixels.dtype)
    strides = [np.int64(stride // pixels.itemsize) for stride in pixels.strides]
    numbers = [np.int32(number) for number in (channels, rows, columns, ph, pw)]
    grid, block = [batch * rows * columns], block_threads(size)
    launch("patches", [element(pixels)], grid, block, [out, pixels, *numbers, *strides])
    return out
