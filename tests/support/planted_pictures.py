"""Faults of what is seen, and of kernels: name → what it is to be called, and the methods of `Port` it overrides."""

import numpy as np

from tests.support.faults import MEAN, STD
from tests.support.faulty import again, of_pixels, of_weight, raw


def grey(weights):
    return of_pixels(lambda p: again(np.repeat(np.einsum("bchw,c->bhw", raw(p), weights)[:, None], 3, 1)))


# fmt: off
PIXELS = {
    "grey": ("grey", grey([1 / 3, 1 / 3, 1 / 3])),
    "brightness": ("grey", grey([0.299, 0.587, 0.114])),
    "deviations exchanged": ("wrong_normalisation", of_pixels(lambda p: (raw(p) - MEAN) / STD[[1, 0, 2]])),
    "means exchanged": ("wrong_normalisation", of_pixels(lambda p: (raw(p) - MEAN[[0, 2, 1]]) / STD)),
    "halved": ("wrong_normalisation", of_pixels(lambda p: p / 2)),
    "from 0 on": ("pixels_clipped", of_pixels(lambda p: np.maximum(p, 0))),
    "from -1 to 1": ("pixels_clipped", of_pixels(lambda p: np.clip(p, -1, 1))),
    "bytes that wrap": ("pixels_wrapped", of_pixels(lambda p: p.astype(np.int64).astype(np.uint8))),
}
KERNELS = {
    "kernel flipped": ("weight_reversed", of_weight(lambda w: w[:, :, ::-1, ::-1], "patch_embed")),
}
WEIGHTS = {
    "rows of q reversed": ("weight_reversed", of_weight(lambda w: w[::-1], "attention.q_proj")),
}
# fmt: on
