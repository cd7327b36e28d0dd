"""The derivative of attention on the device against the general one in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.gradients.attention import backward
from aimv2_np.network.attention import attention
from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Packed, Padded, Prefix
from tests.kernels.cuda.arrays import LAYOUTS, assert_within, contiguous, dtypes, exact, normal
from tests.support import fake_cupy

# Of the largest number of a result. Sums of up to a hundred float32 products of d numbers each, and what e^x adds.
BOUND = 2e-5


def check(cupy, q, k, v, view, layout=contiguous, scale=0.3, view_there=None, loose=1):
    """With the output that the forward pass rounds to the arrays' type, as the tape has it."""
    there = [layout(cupy, x) for x in (q, k, v)]
    view_there = view if view_there is None else view_there
    output = attention(*there, scale, view_there)
    g = normal(9, "float32", q.shape)[0]
    found = backward(*there, output, cupy.asarray(g), scale, view_there)
    here = [exact(x) for x in (q, k, v)]
    expected = backward.textbook(*here, exact(output), exact(g), scale, view)
    for array, right in zip(found, expected, strict=True):
        assert array.dtype == np.float32
        assert_within(array, right, loose * BOUND * max(0.1, np.abs(right).max(initial=0)))
    return found


@settings(max_examples=25)
@given(batch=st.integers(1, 2), heads=st.integers(1, 2), queries=st.integers(1, 40), keys=st.integers(1, 40),
       size=st.integers(1, 20), dtype=dtypes, layout=LAYOUTS, seed=st.integers(0, 9))  # fmt: skip
def test_any_shape_and_layout(cupy, batch, heads, queries, keys, size, dtype, layout, seed):
    q, k, v = normal(seed, dtype, *((batch, heads, n, size) for n in (queries, keys, keys)))
    check(cupy, q, k, v, EVERYONE, layout)


@pytest.mark.parametrize("size", [33, 64, 100, 128])
def test_heads_of_any_size(cupy, size):
    q, k, v = normal(size, "float32", *((1, 2, n, size) for n in (33, 70, 70)))
    check(cupy, q, k, v, EVERYONE, scale=size**-0.5)
    assert fake_cupy.launched >= {f"attention_back_queries<{64 if size <= 64 else 128}>"}


@pytest.mark.parametrize("tokens", [1, 31, 65])
def test_views(cupy, tokens):
    """Those of training: causal, prefixes, padding, of which a row may have nothing left, and any mask."""
    q, k, v = normal(tokens, "float32", *((2, 2, tokens, 8) for _ in range(3)))
    rng = np.random.default_rng(0)
    lengths, keys = np.array([1, max(1, tokens // 2)]), rng.integers(0, 2, (2, tokens))
    mask = rng.random((2, 1, tokens, tokens)) < 0.5
    keys[0] = 0
    mask[0, 0, 0] = False
    on = cupy.asarray
    check(cupy, q, k, v, CAUSAL)
    check(cupy, q, k, v, Prefix(lengths), view_there=Prefix(on(lengths)))
    check(cupy, q, k, v, Padded(keys), view_there=Padded(on(keys)))
    check(cupy, q, k, v, CAUSAL & Padded(keys), view_there=CAUSAL & Padded(on(keys)))
    check(cupy, q, k, v, Mask(mask), view_there=Mask(on(mask)))


def test_scores_that_overflow_e_to_the_x(cupy):
    q, k, v = normal(0, "float32", *((1, 1, 40, 8) for _ in range(3)))
    check(cupy, 30 * q, 30 * k, v, EVERYONE, loose=30)  # as much larger are the numbers that cancel


def test_the_same_bits_in_every_run(cupy):
    q, k, v = normal(0, "bfloat16", *((2, 2, 70, 16) for _ in range(3)))
    one, other = (check(cupy, q, k, v, CAUSAL) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.get(), b.get())


@pytest.mark.parametrize(
    ("dtype", "shape", "view"),
    [("float32", (1, 1, 9, 8), Packed((4, 5))), ("float32", (1, 1, 9, 130), EVERYONE),
     ("float32", (1, 2, 0, 8), EVERYONE)],
    ids=["packed", "a large head", "no tokens"],
)  # fmt: skip
def test_what_the_kernels_do_not_take_goes_by_products(cupy, dtype, shape, view):
    fake_cupy.launches.clear()
    q, k, v = normal(0, dtype, *(shape for _ in range(3)))
    if shape[2]:
        check(cupy, q, k, v, view)
    else:
        found = backward(*map(cupy.asarray, (q, k, v, q)), cupy.asarray(q), 0.3, view)
        assert [array.shape for array in found] == [shape] * 3
    assert not [it for it in fake_cupy.launches if it.startswith("attention_back")]
