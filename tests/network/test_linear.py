import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.linear import Linear, linear
from tests.support.models import assert_close


def by_hand(x, weight, bias):
    out = np.zeros((*x.shape[:-1], weight.shape[0]))
    for index in np.ndindex(x.shape[:-1]):
        for o in range(weight.shape[0]):
            total = 0.0 if bias is None else float(bias[o])
            for i in range(weight.shape[1]):
                total += float(weight[o, i]) * float(x[(*index, i)])
            out[(*index, o)] = total
    return out


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("with_bias", [True, False])
@given(batch=st.lists(st.integers(0, 3), max_size=3), sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_equals_nested_loops(batch, sizes, with_bias, dtype):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((*batch, sizes[0])).astype(dtype), rng.standard_normal(sizes[::-1]).astype(dtype)
    bias = rng.standard_normal(sizes[1]).astype(dtype) if with_bias else None
    y = linear(x, weight, bias)
    assert y.dtype == dtype
    # Seven terms of size one, which may cancel: ε times the sum of their absolute values, about 10 largest elements.
    terms = by_hand(np.abs(x), np.abs(weight), None if bias is None else np.abs(bias))
    assert y.shape == terms.shape
    limit = 4 * np.finfo(dtype).eps * terms
    assert (np.abs(y.astype(np.float64) - by_hand(x, weight, bias)) <= limit).all()


def test_the_weight_has_one_row_per_output():
    weight, bias = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([10.0, 20.0, 30.0])
    np.testing.assert_array_equal(Linear(weight, bias)(np.eye(2)), [[11, 23, 35], [12, 24, 36]])


def test_float16_is_summed_in_float32():
    """2048 + 1 is 2048 in float16: added one by one the ones would be lost."""
    x = np.ones((1, 513), np.float16)
    weight = np.ones((1, 513), np.float16)
    weight[0, 0] = 2048
    assert linear(x, weight)[0, 0] == 2560


def test_absent_bias_is_no_parameter():
    weight = np.ones((2, 3))
    assert list(Linear(weight, None).state_dict()) == ["weight"]
    assert list(Linear(weight, np.zeros(2)).state_dict()) == ["weight", "bias"]


def test_linearity():
    rng = np.random.default_rng(1)
    a, b, weight = rng.standard_normal((2, 4)), rng.standard_normal((2, 4)), rng.standard_normal((3, 4))
    assert_close(linear(2 * a - b, weight), 2 * linear(a, weight) - linear(b, weight), ulps=16)
