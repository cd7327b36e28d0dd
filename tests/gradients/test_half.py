"""Which factors of products on the way back are rounded, and that their sums are not."""

import numpy as np
import pytest

from aimv2_np import to_numpy
from aimv2_np.backends.arrays import widen
from aimv2_np.backends.narrow import for_bfloat16
from aimv2_np.gradients import Variable
from aimv2_np.gradients.half import factor, narrow_products, product
from aimv2_np.gradients.variable import walk_back
from aimv2_np.network.linear import linear


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_factors_are_rounded_inside_the_block_alone():
    x, weight = normal(0, 3, 8), normal(1, 5, 8)
    half, narrow = weight.astype(np.float16), for_bfloat16(weight)
    assert factor(x, half) is x
    with narrow_products():
        assert factor(x, weight) is x
        np.testing.assert_array_equal(factor(x, half), x.astype(np.float16))
        assert factor(half, half) is half
        bits = factor(x, narrow).view(np.uint32)
        assert not (bits & 0xFFFF).any()
        assert abs(factor(x, narrow) - x).max() <= 2.0**-8 * abs(x).max()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_product_is_not_rounded(cupy, dtype):
    """1 + 2⁻¹² + … has more digits than half precision."""
    import ml_dtypes

    kind = np.dtype(dtype if dtype == "float16" else ml_dtypes.bfloat16)
    a, b = normal(0, 6, 40).astype(kind), normal(1, 7, 40).astype(kind)
    expected = a.astype(np.float64) @ b.astype(np.float64).T
    for x, y in ((a, b), (cupy.asarray(a), cupy.asarray(b)), (cupy.asarray(a.T.copy()).T, cupy.asarray(b.T.copy()).T)):
        found = product(x, y)
        assert found.dtype == np.float32
        np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=40 * 2.0**-23 * abs(expected).max())


@pytest.mark.parametrize("narrow", [False, True])
def test_the_way_back_of_a_linear_map(narrow):
    """Inside the block the gradient itself is rounded to float16, outside it is not: 1 + 2⁻¹² is 1 in float16."""
    x, weight = normal(0, 4, 8).astype(np.float16), normal(1, 5, 8).astype(np.float16)
    g = np.full((4, 5), 1 + 2.0**-12, np.float32)
    leaves = [Variable(x), Variable(weight)]
    y = linear(*leaves)
    if narrow:
        with narrow_products():
            found = walk_back(y, leaves, g)
    else:
        found = walk_back(y, leaves, g)
    above = np.ones_like(g) if narrow else g
    for array, expected in zip(found, (above @ widen(weight), above.T @ widen(x)), strict=True):
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-5)
