"""Every activation against its textbook formula in Python's own floats."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.activations import ACTIVATIONS


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x)) if x > -30 else math.exp(x)


def normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def tanh_gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def clip(x, low, high):
    return min(max(x, low), high)


FORMULAS = {
    "gelu": lambda x: x * normal_cdf(x),
    "gelu_10": lambda x: clip(x * normal_cdf(x), -10, 10),
    "gelu_accurate": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "gelu_new": tanh_gelu,
    "gelu_python": lambda x: x * normal_cdf(x),
    "gelu_python_tanh": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "hardswish": lambda x: x * clip(x + 3, 0, 6) / 6,
    "laplace": lambda x: 0.5 * (1 + math.erf((x - 0.707107) / (0.282095 * math.sqrt(2)))),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "linear": lambda x: x,
    "mish": lambda x: x * math.tanh(max(x, 0) + math.log1p(math.exp(-abs(x)))),
    "quick_gelu": lambda x: x * logistic(1.702 * x),
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "relu6": lambda x: clip(x, 0, 6),
    "sigmoid": logistic,
    "silu": lambda x: x * logistic(x),
    "swish": lambda x: x * logistic(x),
    "tanh": math.tanh,
}
# gelu_fast rounds √(2/π) to ten digits, the reference does not: 2e-11 of the argument of a tanh.
ABSOLUTE = {"gelu_fast": 1e-10}
GRID = np.concatenate([
    np.linspace(-100, 100, 2001), np.linspace(-6, 6, 997), [0.0, -0.0, 3.0, -3.0, 1e-300, -1e-300, 1e-9, -1e-9, 10.0]
])  # fmt: skip


def expected(name, x):
    return np.array([FORMULAS[name](float(value)) for value in x.ravel()]).reshape(x.shape)


def test_the_table_is_what_a_configuration_may_name():
    assert set(ACTIVATIONS) == set(FORMULAS)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_float64(name):
    y = ACTIVATIONS[name](GRID)
    assert y.dtype == np.float64
    # 4 ε relative to the size of the argument or result; 100 times an error of erf of 3e-16 is within it.
    bound = 4 * np.finfo(float).eps * np.maximum(np.maximum(abs(GRID), abs(expected(name, GRID))), 1)
    np.testing.assert_array_less(np.abs(y - expected(name, GRID)), bound + ABSOLUTE.get(name, 0))


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_float32(name):
    x = GRID.astype(np.float32)
    y = ACTIVATIONS[name](x)
    assert y.dtype == np.float32
    reference = expected(name, x)
    bound = 4 * np.finfo(np.float32).eps * np.maximum(np.maximum(abs(x), abs(reference)), 1)
    np.testing.assert_array_less(np.abs(y - reference), bound)


@pytest.mark.parametrize("name", sorted(FORMULAS))
@given(x=st.floats(-1e4, 1e4, width=32))
def test_anything_finite_gives_something_finite_without_warnings(name, x):
    for dtype in (np.float32, np.float64):
        y = ACTIVATIONS[name](np.full((2, 1), x, dtype))
        assert np.isfinite(y).all()
        assert y.shape == (2, 1)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_input_is_left_alone(name):
    x = GRID.copy()
    x.flags.writeable = False
    ACTIVATIONS[name](x)
    np.testing.assert_array_equal(x, GRID)


def test_tails_keep_their_digits():
    """σ(-100) = 3.7e-44: a formula that takes 1 - something would give zero."""
    x = np.array([-100.0])
    for name in ("sigmoid", "silu", "swish"):
        np.testing.assert_allclose(ACTIVATIONS[name](x), expected(name, x), rtol=1e-14)
