"""Products by cuBLAS: how they are asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.kernels.cuda.gemm import matmul, multiply, tf32, uses_tf32
from aimv2_np.network.linear import linear
from tests.kernels.cuda.arrays import DTYPES, EPS32, LAYOUTS, assert_within, dtypes, eps, exact, normal

small = st.integers(0, 5)


def limit(dtype, x, weight, expected):
    """Sums in float32, of at most 64 terms in some order; one rounding to the type."""
    terms = np.abs(exact(x)).reshape(-1, x.shape[-1]) @ np.abs(exact(weight)).T
    return 0.51 * eps(dtype) * np.abs(expected) + 64 * EPS32 * (terms.reshape(expected.shape) + 1)


@settings(max_examples=80)
@given(batch=st.lists(small, max_size=3), sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)), dtype=dtypes,
       bias=st.booleans(), layouts=st.tuples(LAYOUTS, LAYOUTS), seed=st.integers(0, 9))  # fmt: skip
def test_linear(cupy, batch, sizes, dtype, bias, layouts, seed):
    x, weight, b = normal(seed, dtype, (*batch, sizes[0]), sizes[::-1], sizes[1])
    device = layouts[0](cupy, x), layouts[1](cupy, weight), *([cupy.asarray(b)] if bias else [])
    y = linear(*device)
    assert y.dtype == x.dtype
    expected = linear.textbook(exact(x), exact(weight), *([exact(b)] if bias else []))
    assert_within(y, expected, limit(dtype, x, weight, expected))
    np.testing.assert_array_equal(device[0].get(), x)


@settings(max_examples=60)
@given(sizes=st.tuples(*(st.integers(1, 6) for _ in range(4))), dtype=dtypes, flipped=st.booleans(),
       beta=st.sampled_from([0, 1]), gaps=st.tuples(*[st.sampled_from([0, 1, 3])] * 3), wide=st.booleans())  # fmt: skip
def test_stacks_of_matrices_with_gaps(cupy, sizes, dtype, flipped, beta, gaps, wide):
    """Rows with gaps, columns in the place of rows, a sum that goes on, half precision into float32."""
    batch, rows, inner, columns = sizes
    a, b, c = normal(0, dtype, (batch, rows, inner), (batch, inner, columns), (batch, rows, columns))
    c = c.astype(np.float32) if wide else c

    def put(x, gap):
        memory = cupy.empty((*x.shape[:-1], x.shape[-1] + gap), x.dtype)[..., : x.shape[-1]]
        memory[...] = cupy.asarray(x)
        return memory

    device_b = put(b.swapaxes(1, 2), gaps[1]).swapaxes(1, 2) if flipped else put(b, gaps[1])
    out = put(c, gaps[2])
    matmul(put(a, gaps[0]), device_b, out, beta=beta)
    expected = exact(a) @ exact(b) + beta * exact(c)
    assert_within(out, expected, 0.51 * (EPS32 if wide else eps(dtype)) * np.abs(expected) + 100 * EPS32)


def test_nothing_to_sum(cupy):
    out = cupy.asarray(np.ones((1, 2, 3), np.float32))
    matmul(cupy.empty((1, 2, 0), np.float32), cupy.empty((1, 0, 3), np.float32), out, beta=1)
    np.testing.assert_array_equal(out.get(), 1)
    matmul(cupy.empty((1, 2, 0), np.float32), cupy.empty((1, 0, 3), np.float32), out)
    np.testing.assert_array_equal(out.get(), 0)


def test_a_product_is_added_where_the_sum_lies(cupy):
    x, weight, total = normal(0, "float32", (3, 4), (5, 4), (3, 5))
    out = cupy.asarray(total)
    assert multiply(cupy.asarray(x), cupy.asarray(weight), out, add=True) is out
    np.testing.assert_allclose(out.get(), total + x @ weight.T, rtol=1e-5)


def test_float64_stays_float64(cupy):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 40)), rng.standard_normal((5, 40))
    y = linear(cupy.asarray(x), cupy.asarray(weight))
    np.testing.assert_allclose(y.get(), x @ weight.T, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mixed_types_are_the_textbook(cupy, dtype):
    x, weight = normal(0, dtype, (3, 4), (5, 4))
    y = linear(cupy.asarray(x), cupy.asarray(weight.astype(np.float64)))
    expected = exact(x) @ exact(weight).T
    assert_within(y, expected, eps(dtype) * np.abs(expected) + 1e-6)


def test_tf32_is_asked_for():
    assert not uses_tf32()
    with tf32():
        assert uses_tf32()
    assert not uses_tf32()
