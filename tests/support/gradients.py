"""Derivatives against central differences, and against PyTorch's where it is installed."""

import numpy as np

from aimv2_np.backends.operation import looking_inside
from aimv2_np.gradients.variable import Variable, walk_back

STEP = 1e-6


def gradients(function, *arrays):
    """∂L/∂array of each, of L = Σ weights · function(*arrays); and L as a function of the arrays."""
    weights = np.random.default_rng(1).standard_normal(np.shape(function(*arrays)))
    leaves = [Variable(array) for array in arrays]
    with looking_inside():
        output = function(*leaves)
    return walk_back((output * weights).sum(), leaves), lambda *x: float((function(*x) * weights).sum())


def check(function, *arrays, tolerance=1e-7):
    """Each gradient along a random direction is the slope of the function in that direction."""
    found, value = gradients(function, *arrays)
    rng = np.random.default_rng(2)
    for i, (array, gradient) in enumerate(zip(arrays, found, strict=True)):
        assert gradient.shape == array.shape
        assert gradient.dtype == array.dtype
        way = rng.standard_normal(array.shape)
        moved = [[a + sign * STEP * way if i == j else a for j, a in enumerate(arrays)] for sign in (1, -1)]
        slope = (value(*moved[0]) - value(*moved[1])) / (2 * STEP)
        size = np.linalg.norm(gradient) * np.linalg.norm(way)
        np.testing.assert_allclose((gradient * way).sum(), slope, rtol=0, atol=tolerance * max(size, 1.0))
