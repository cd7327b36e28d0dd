"""Derivatives in C are those that are written, whatever the shapes and the threads."""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.backends import parallel
from aimv2_np.gradients.attention import backward as attention_backward
from aimv2_np.gradients.half import product
from aimv2_np.gradients.rms_norm import backward as rms_norm_backward
from aimv2_np.gradients.swiglu import backward as gated_backward
from aimv2_np.kernels.native import bodies
from aimv2_np.kernels.native.structures import ACTIVATIONS
from aimv2_np.network.attention import attention
from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Packed, Prefix
from tests.support.instruction_sets import kernels  # noqa: F401

SIZE = st.integers(1, 70)


@contextmanager
def threads(count):
    with patch.object(bodies, "WORTH_A_THREAD", 1), patch.object(parallel, "threads", lambda: count):
        yield


def check(derivative, *args, sums=1):
    """The same bits on any number of threads, and the numbers of float64 to so many roundings of float32."""
    with patch.dict(bodies.otherwise, {derivative: lambda *args: pytest.fail("left to NumPy")}):
        found = []
        for count in (1, 3):
            with threads(count):
                found.append(derivative(*args))
    expected = derivative.textbook(*(x.astype(np.float64) if isinstance(x, np.ndarray) else x for x in args))
    several = isinstance(expected, tuple | list)
    for one, other, true in zip(*found, expected, strict=True) if several else [(*found, expected)]:
        np.testing.assert_array_equal(one, other)
        assert one.shape == true.shape
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, true, rtol=0, atol=4e-6 * sums**0.5 * (1 + np.abs(true).max(initial=0)))


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 1200), outputs=SIZE, inputs=st.integers(1, 150), seed=SIZE)
def test_a_product_of_columns(rows, outputs, inputs, seed):
    check(product, numbers(seed, rows, outputs + 1)[:, 1:].T, numbers(seed + 1, rows, inputs).T, sums=rows)


@settings(max_examples=12, deadline=None)
@given(shape=st.tuples(SIZE, SIZE), name=st.sampled_from(sorted(ACTIVATIONS)), seed=SIZE)
def test_gated(shape, name, seed):
    check(gated_backward, 8 * numbers(seed, *shape), numbers(seed + 1, *shape)[::-1], numbers(seed + 2, *shape), name)


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 200), width=SIZE, seed=SIZE)
def test_rms_norm(rows, width, seed):
    shape = (2, rows, width)
    gain, g = numbers(seed, width), numbers(seed + 1, *shape)
    check(rms_norm_backward, numbers(seed, *shape), gain, g, 1e-5, sums=2 * rows)


VIEWS = {
    "everyone": lambda n: EVERYONE,
    "causal": lambda n: CAUSAL,
    "prefix": lambda n: Prefix(np.array([1, n])),
    "mask": lambda n: Mask(np.arange(n * n).reshape(1, 1, n, n) % 3 > 0),
    "packed": lambda n: Packed((n, 2 * n)),
}


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 150), heads=st.integers(1, 3), width=SIZE, view=st.sampled_from(sorted(VIEWS)), seed=SIZE)
def test_attention(tokens, heads, width, view, seed):
    shape = (1, 3 * tokens, heads, width) if view == "packed" else (2, tokens, heads, width)
    q, k, v, g = (numbers(seed + i, *shape).swapaxes(1, 2) for i in range(4))
    scale, seen = width**-0.5, VIEWS[view](tokens)
    output = attention.textbook(*(x.astype(np.float64) for x in (q, k, v)), scale, seen).astype(np.float32)
    check(attention_backward, q, k, v, output, g, scale, seen, sums=3 * tokens)


def test_what_the_kernels_do_not_take_is_left():
    wide = np.ones((2, 3))
    for derivative, args in (
        (product, (np.float32(wide).T, wide.T)),
        (product, (np.float32(wide), np.float32(wide))),
        (gated_backward, (np.float32(wide), wide, wide, "silu")),
        (gated_backward, (*[np.float32(wide)] * 3, "gelu")),
        (rms_norm_backward, (np.float32(wide), wide[0], wide, 1e-5)),
        (attention_backward, (*[np.ones((1, 1, 2, 3), np.float32)] * 4, np.ones((1, 1, 2, 3)), 1.0, EVERYONE)),
    ):
        with patch.dict(bodies.otherwise, {derivative: lambda *args: "left"}):
            assert derivative(*args) == "left"
