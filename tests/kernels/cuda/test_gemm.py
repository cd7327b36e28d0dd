"""Products by cuBLAS: how they are asked for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.kernels.cuda.gemm import matmul, multiply_transposed, tf32, uses_tf32
from tests.kernels.cuda.arrays import EPS32, assert_within, dtypes, eps, exact, normal


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
    assert multiply_transposed(cupy.asarray(x), cupy.asarray(weight), out, add=True) is out
    np.testing.assert_allclose(out.get(), total + x @ weight.T, rtol=1e-5)


def test_tf32_is_asked_for():
    assert not uses_tf32()
    with tf32():
        assert uses_tf32()
    assert not uses_tf32()
