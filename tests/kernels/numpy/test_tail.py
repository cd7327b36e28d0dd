"""No denormal number reaches a product inside attention or behind a gate, with or without the processor's help."""

import numpy as np
import pytest

from aimv2_np import textbook
from aimv2_np.backends import arithmetic
from aimv2_np.kernels.numpy.tail import LOWEST, without_tail
from aimv2_np.network.attention import attention
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import CAUSAL, EVERYONE, Packed, Padded

TOKENS = 700


@pytest.fixture(params=[True, False], ids=["switch", "no switch"])
def switch(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(arithmetic, "_library", lambda: None)


@pytest.fixture
def exponentials(monkeypatch):
    """Copies of all that `np.exp` returns."""
    found, exp = [], np.exp

    def spy(*args, **kwargs):
        found.append(np.array(exp(*args, **kwargs)))
        return found[-1] if "out" not in kwargs else kwargs["out"]

    monkeypatch.setattr(np, "exp", spy)
    return found


def padded(keys):
    return Padded((np.arange(TOKENS) < keys)[None].astype(np.int64))


VIEWS = {
    "tiled": EVERYONE,
    "causal": CAUSAL,
    "padded": padded(600),
    "causal and padded": CAUSAL & padded(600),
    "packed": Packed((100, 600)),
}


@pytest.mark.usefixtures("switch")
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize(("dtype", "peak"), [("float32", 24), ("float64", 200)])
def test_peaked_scores(dtype, peak, view, exponentials):
    """A standard deviation of `peak` puts many scores where e^x is denormal; they count as zero, the others as ever."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, TOKENS, 16)).astype(dtype) for _ in "qkv")
    q *= peak
    with textbook():
        exact = attention(*(x.astype("float64") for x in (q, k, v)), 16**-0.5, view)
    exponentials.clear()
    y = attention(q, k, v, 16**-0.5, view)
    least = np.exp(np.array(LOWEST[q.dtype]))
    assert sum(np.size(e) for e in exponentials) > TOKENS * 100
    for e in exponentials:
        assert not ((e > 0) & (e < 0.99 * least)).any()
    # Scores reach 500 (4000 in float64) and have that many rounding errors; e^x has them relative to itself.
    seen = slice(None) if view is not VIEWS["causal and padded"] else slice(600)
    np.testing.assert_allclose(y[:, :, seen], exact[:, :, seen], atol=40 * peak * np.finfo(dtype).eps)


@pytest.mark.usefixtures("switch")
@pytest.mark.parametrize(("dtype", "tail"), [("float32", (-86, -80)), ("float64", (-708, -690))])
def test_gates_in_the_tail(dtype, tail):
    gate = np.linspace(*tail, 1000, dtype=dtype)[None]
    np.testing.assert_array_equal(gated(gate, np.full_like(gate, 1e-3), "silu"), 0)
    ordinary = np.linspace(-50, 50, 1000, dtype=dtype)[None]
    expected = ordinary / (1 + np.exp(-ordinary.astype("float64")))
    both = gated(np.concatenate([gate, ordinary]), np.ones((2, 1000), dtype), "silu")
    np.testing.assert_allclose(both[1:], expected, rtol=8 * np.finfo(dtype).eps)


def test_a_maximum_that_comes_later():
    """Sums of earlier tiles are scaled down by e^-90, which would be denormal."""
    q = np.ones((1, 1, 4, 1), np.float32)
    k = np.zeros((1, 1, 1400, 1), np.float32)
    k[0, 0, -1] = 90
    v = np.arange(1400, dtype=np.float32).reshape(1, 1, 1400, 1)
    np.testing.assert_array_equal(attention(q, k, v, 1.0), 1399)


def test_nothing_is_changed_above():
    x = np.linspace(-60, 0, 50, dtype=np.float32)
    np.testing.assert_array_equal(without_tail(x.copy()), x)
    np.testing.assert_array_equal(without_tail(np.array([-60.5, -np.inf, np.nan, 0.0], np.float32))[2:], [np.nan, 0])
