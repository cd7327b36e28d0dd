import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np import textbook
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.linear import Linear
from aimv2_np.network.swiglu import SwiGLU, gated


def silu(x):
    return x / (1 + math.exp(-x))


def test_known_values():
    """D = 1, F = 2: 5 · silu(2x) · 4x + 6 · silu(-x) · 3x for x = 2."""
    module = SwiGLU(
        Linear(np.array([[2.0], [-1.0]]), None), Linear(np.array([[4.0], [3.0]]), None),
        Linear(np.array([[5.0, 6.0]]), None), "silu",
    )  # fmt: skip
    np.testing.assert_allclose(module(np.array([[2.0]])), [[5 * silu(4) * 8 + 6 * silu(-2) * 6]], rtol=1e-14)


@pytest.mark.parametrize("bias", [True, False])
def test_equals_loops(bias):
    rng = np.random.default_rng(0)
    gate, up, down = (
        Linear(rng.standard_normal(shape), rng.standard_normal(shape[0]) if bias else None)
        for shape in ((5, 3), (5, 3), (3, 5))
    )
    x = rng.standard_normal((2, 4, 3))
    expected = np.zeros_like(x)
    for b, n in np.ndindex(2, 4):
        hidden = []
        for f in range(5):
            g = sum(gate.weight[f] * x[b, n]) + (gate.bias[f] if bias else 0)
            u = sum(up.weight[f] * x[b, n]) + (up.bias[f] if bias else 0)
            hidden.append(silu(g) * u)
        for d in range(3):
            expected[b, n, d] = sum(down.weight[d] * hidden) + (down.bias[d] if bias else 0)
    np.testing.assert_allclose(SwiGLU(gate, up, down, "silu")(x), expected, atol=1e-13)


@pytest.mark.parametrize("as_written", [False, True])
@given(g=st.floats(-100, 100, width=32), u=st.floats(-100, 100, width=32))
def test_gate_times_up(g, u, as_written):
    expected = (g / (1 + math.exp(-g)) if g > -700 else 0.0) * u
    for dtype, rtol in (("float32", 1e-6), ("float64", 1e-14)):
        pair = np.array([[g]], dtype), np.array([[u]], dtype)
        if as_written:
            with textbook():
                y = gated(*pair, "silu")
        else:
            y = gated(*pair, "silu")
        assert y.dtype == dtype
        # SiLU below -60 counts as zero: 60 e^-60 at most, times the largest `u`.
        np.testing.assert_allclose(y, [[expected]], rtol=rtol, atol=60 * math.exp(-60) * 100)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_only_the_gate_is_activated(name):
    rng = np.random.default_rng(0)
    gate, up = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(gated(gate, 2 * up, name), 2 * gated(gate, up, name), rtol=1e-15)
    np.testing.assert_array_equal(gated(gate, 0 * up, name), np.zeros((3, 4)))
    if name == "relu":
        np.testing.assert_array_equal(gated(gate, up, name), np.where(gate > 0, gate, 0) * up)


def test_float16_rounds_once():
    gate, up = np.array([[300.0]], np.float16), np.array([[200.0]], np.float16)
    y = gated(gate, up, "silu")
    assert y.dtype == np.float16
    assert y[0, 0] == np.float16(60000)
    small = np.random.default_rng(0).standard_normal((2, 50, 7)).astype(np.float16)
    exact = gated(small[0].astype(np.float64), small[1].astype(np.float64), "silu")
    assert (np.abs(gated(*small, "silu") - exact) <= 0.501 * np.spacing(np.abs(exact).astype(np.float16))).all()
