"""The weights that AIMv2's pre-training began with, as Apple published it (apple/ml-l3m, configs/aimv2).

    matrices, the patch embedding too       uniform, ±√(6 / (inputs + outputs))
    the two maps that predict               normal, variance 1/(13 · inputs), cut off at two deviations
    tables of tokens, the start             normal, deviation 0.02
    positions of patches; of tokens         normal, deviation 0.02; 0.01
    gains one, biases zero

Glorot & Bengio 2010, eq. 16, for the first.
"""

from math import prod, sqrt
from typing import TypeVar
from zlib import crc32

import numpy as np

from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module, Parameter

M = TypeVar("M", bound=Module)
PREDICTING = ("pixel_head.weight", "text_head.weight")
CUT = 2.0  # deviations
# What is left of the variance of a normal distribution whose draws beyond the cut are drawn again.
LEFT = 0.7737413035


def initialized(skeleton: M, seed: int = 0) -> M:
    """The skeleton, a tree with a `Parameter` in the place of every array, with new weights in float32.

    An array depends on the seed and its own path only.
    """

    def draw(path: str, parameter: Parameter) -> NDArray:
        rng = np.random.default_rng([seed, crc32(path.encode())])
        return _draw(rng, path, parameter).astype(np.float32)

    return skeleton.map(draw)


def _draw(rng: np.random.Generator, path: str, parameter: Parameter) -> NDArray:
    shape = parameter.shape
    if len(shape) < 2:  # gains, biases, the temperature
        return np.full(shape, parameter.fill)
    if path.endswith(PREDICTING):
        return sqrt(1 / (13 * shape[1])) * _cut_normal(rng, shape)
    if "position_embedding" in path:
        return (0.01 if path.startswith(("decoder", "text_model")) else 0.02) * rng.standard_normal(shape)
    if "token" in path:  # tables of tokens, start_token, cls_token
        return 0.02 * rng.standard_normal(shape)
    outputs, inputs = shape[0], prod(shape[1:])
    bound = sqrt(6 / (inputs + outputs))
    return rng.uniform(-bound, bound, shape)


def _cut_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray:
    """Normal draws, those beyond the cut drawn again, scaled to variance one."""
    draws = rng.standard_normal(shape)
    while (beyond := abs(draws) > CUT).any():
        draws[beyond] = rng.standard_normal(int(beyond.sum()))
    return draws / sqrt(LEFT)
