"""Patch embedding on the device: one kernel makes rows of the patches, one product maps them."""

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda.launch import ELEMENTS, computes, element, launch, threads
from aimv2_np.kernels.cuda.linear import linear_rows
from aimv2_np.network.patches import patch_embed
from aimv2_np.shapes import Array, Float


def patch_embed_rows(pixels: Array, weight: Array, bias: Array) -> Array:
    """The rows of all patches, then one product."""
    if not computes(pixels, weight, bias):
        return patch_embed.textbook(pixels, weight, bias)
    size, channels, ph, pw = weight.shape
    return linear_rows(patch_rows(pixels, (ph, pw), weight.dtype), weight.reshape(size, channels * ph * pw), bias)


def embed_pictures(
    pixels: Array, weight: Array, bias: Array, mean: Array, std: Array, rescale: float = 1 / 255
) -> Float[Array, "B N D"]:
    """Patch embedding of (B, C, height, width) pictures as they are, 8 bits a channel: `(rescale·pixel - mean) / std`.

    `mean` and `std` are (C,), on the device. The normalisation is done in float32 while the patches are cut out.
    Channels may lie last in memory.
    """
    size, channels, ph, pw = weight.shape
    xp = namespace(weight)
    scale = xp.asarray(rescale / std, dtype=np.float32)
    shift = xp.asarray(-mean / std, dtype=np.float32)
    rows = patch_rows(pixels, (ph, pw), weight.dtype, scale, shift)
    return linear_rows(rows, weight.reshape(size, channels * ph * pw), bias)


def patch_rows(
    pixels: Array, patch: tuple[int, int], dtype: np.dtype, scale: Array | None = None, shift: Array | None = None
) -> Float[Array, "B N CPP"]:
    """(B, C, height, width) -> (B, rows·columns, C·ph·pw) of `dtype`, each channel times `scale` plus `shift` (C,)."""
    (batch, channels, height, width), (ph, pw) = pixels.shape, patch
    rows, columns, size = height // ph, width // pw, channels * ph * pw
    out = namespace(pixels).empty((batch, rows * columns, size), dtype)
    strides = [np.int64(stride // pixels.itemsize) for stride in pixels.strides]
    numbers = [np.int32(it) for it in (channels, rows, columns, ph, pw)]
    launch("patches", [element(pixels), ELEMENTS[out.dtype.name]], [batch * rows * columns], threads(size),
           [out, pixels, scale, shift, *numbers, *strides])  # fmt: skip
    return out
