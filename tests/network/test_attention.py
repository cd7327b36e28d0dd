import math
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aimv2_np import textbook
from aimv2_np.network.attention import Attention, attention, merge_heads, softmax, split_heads
from aimv2_np.network.linear import Linear
from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Packed
from tests.support.models import assert_close

SIZES = st.tuples(*(st.integers(1, 4) for _ in range(5)))  # B, H, N, M, d


def qkv(sizes, dtype="float64", seed=0):
    b, h, n, m, d = sizes
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((b, h, length, d)).astype(dtype) for length in (n, m, m))


def by_hand(q, k, v, scale, mask=None):
    """One query at a time, in Python's floats; keys that may not be seen are left out of every sum."""
    out = np.zeros(q.shape)
    for b, h, n in np.ndindex(q.shape[:3]):
        seen = [j for j in range(k.shape[2]) if mask is None or mask[b, 0, n, j]]
        products = [[float(x) * float(y) for x, y in zip(q[b, h, n], k[b, h, j], strict=True)] for j in seen]
        scores = [scale * math.fsum(terms) for terms in products]
        exps = [math.exp(score - max(scores)) for score in scores]
        for i in range(v.shape[3]):
            weighted = math.fsum(e * float(v[b, h, j, i]) for e, j in zip(exps, seen, strict=True))
            out[b, h, n, i] = weighted / math.fsum(exps)
    return out


@pytest.mark.parametrize("as_written", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@settings(max_examples=25)
@given(sizes=SIZES, masked=st.booleans(), seed=st.integers(0, 99))
def test_equals_one_query_at_a_time(sizes, masked, seed, dtype, as_written):
    q, k, v = qkv(sizes, dtype, seed)
    mask = None
    if masked:
        mask = np.random.default_rng(seed).random((sizes[0], 1, sizes[2], sizes[3])) < 0.6
        mask[..., 0] = True  # a query that sees nothing has no meaning
    expected = by_hand(q, k, v, 0.7, mask)
    if as_written:
        with textbook():
            result = attention(q, k, v, 0.7, EVERYONE if mask is None else Mask(mask))
    else:
        result = attention(q, k, v, 0.7, EVERYONE if mask is None else Mask(mask))
    assert result.dtype == dtype
    # Weights err by |score| ε, scores are at most ~10 here; values average. Measured in the largest value, not result.
    error = np.abs(result.astype(np.float64) - expected).max()
    assert error <= 20 * np.finfo(dtype).eps * np.abs(v).max()


def test_float64_is_float64():
    """1e-12 would not survive a detour through float32."""
    q, k, v = qkv((2, 3, 7, 5, 8))
    np.testing.assert_allclose(attention(q, k, v, 8**-0.5), by_hand(q, k, v, 8**-0.5), rtol=0, atol=1e-13)


@given(x=hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6), elements=st.floats(-50, 50)),
       shift=st.floats(-1000, 1000))  # fmt: skip
def test_softmax_rows_sum_to_one_and_ignore_shifts(x, shift):
    p = softmax(x)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
    # x + shift rounds to 1000 ε = 2e-13 absolutely, which is relative in p.
    np.testing.assert_allclose(softmax(x + shift), p, rtol=1e-12)


def test_softmax_by_hand():
    np.testing.assert_allclose(softmax(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_extreme_scores(dtype):
    """Warnings are errors in this suite: nothing may overflow on the way."""
    x = np.array([[1e30, -1e30, 0], [-1e30, -1e30, -1e30], [500, 500, -500]], dtype)
    np.testing.assert_allclose(softmax(x), [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]], rtol=1e-6)


@pytest.mark.parametrize("as_written", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_extreme_scores(masked, as_written):
    q = np.array([[[[1e4, 0], [-1e4, 0]]]], np.float32)
    k = np.array([[[[1e4, 0], [-1e4, 0], [0, 0]]]], np.float32)
    v = np.array([[[[1, 2], [3, 4], [5, 6]]]], np.float32)
    # Each query may see the one key that it likes least, by a score of -1e8: masking by some -1e4 would not do.
    mask = np.array([[[[False, True, False], [True, False, False]]]]) if masked else None
    if as_written:
        with textbook():
            result = attention(q, k, v, 1.0, EVERYONE if mask is None else Mask(mask))
    else:
        result = attention(q, k, v, 1.0, EVERYONE if mask is None else Mask(mask))
    np.testing.assert_array_equal(result, [[[[3, 4], [1, 2]]]] if masked else [[[[1, 2], [3, 4]]]])


@settings(max_examples=25)
@given(sizes=SIZES)
def test_uniform_scores_average_the_values(sizes):
    q, k, v = qkv(sizes)
    expected = np.broadcast_to(v.mean(axis=2, keepdims=True), q.shape)
    np.testing.assert_allclose(attention(0 * q, k, v, 1.0), expected, atol=1e-14)
    np.testing.assert_allclose(attention(q, k, v, 0.0), expected, atol=1e-14)
    np.testing.assert_allclose(attention(q, np.broadcast_to(k[:, :, :1], k.shape), v, 1.0), expected, atol=1e-14)


@settings(max_examples=25)
@given(sizes=SIZES, data=st.data())
def test_unmasked_attention_does_not_care_about_order(sizes, data):
    q, k, v = qkv(sizes)
    keys = data.draw(st.permutations(range(sizes[3])))
    queries = data.draw(st.permutations(range(sizes[2])))
    shuffled = attention(q[:, :, queries], k[:, :, keys], v[:, :, keys], 0.5)
    np.testing.assert_allclose(shuffled, attention(q, k, v, 0.5)[:, :, queries], atol=1e-13)


def test_heads_and_pictures_are_independent():
    q, k, v = qkv((2, 3, 4, 5, 6))
    whole = attention(q, k, v, 0.5)
    for b in range(2):
        for h in range(3):
            part = np.s_[b : b + 1, h : h + 1]
            np.testing.assert_allclose(attention(q[part], k[part], v[part], 0.5), whole[part], atol=1e-14)


@pytest.mark.parametrize("as_written", [False, True])
def test_rows_that_see_nothing_are_finite_and_others_unharmed(as_written):
    q, k, v = qkv((2, 2, 3, 3, 4), "float32")
    mask = np.ones((2, 1, 3, 3), bool)
    mask[1, 0, 0] = False
    if as_written:
        with textbook():
            result = attention(q, k, v, 0.5, Mask(mask))
            free = attention(q, k, v, 0.5)
    else:
        result, free = attention(q, k, v, 0.5, Mask(mask)), attention(q, k, v, 0.5)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result[0], free[0])
    np.testing.assert_array_equal(result[1, :, 1:], free[1, :, 1:])


def test_values_that_may_not_be_seen_do_not_matter():
    q, k, v = qkv((1, 2, 3, 4, 4))
    mask = np.array([True, False, True, False]).reshape(1, 1, 1, 4)
    before = attention(q, k, v, 0.5, Mask(mask))
    k[:, :, 1::2] = 1e6
    v[:, :, 1::2] = -1e6
    np.testing.assert_array_equal(attention(q, k, v, 0.5, Mask(mask)), before)


@given(batch=st.integers(0, 3), tokens=st.integers(1, 4), heads=st.integers(1, 4), size=st.integers(1, 4))
def test_heads_are_consecutive_numbers_of_a_token(batch, tokens, heads, size):
    x = np.arange(float(batch * tokens * heads * size)).reshape(batch, tokens, heads * size)
    parts = split_heads(x, heads)
    assert parts.shape == (batch, heads, tokens, size)
    for h in range(heads):
        np.testing.assert_array_equal(parts[:, h], x[:, :, h * size : (h + 1) * size])
    np.testing.assert_array_equal(merge_heads(parts), x)


def test_module_equals_the_paper():
    """concat_h(softmax(Q_h K_hᵀ / √d) V_h) W_oᵀ, the projections written out."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 5, 6))
    weights, biases = rng.standard_normal((4, 6, 6)), rng.standard_normal((4, 6))
    module = Attention(*(Linear(w, b) for w, b in zip(weights, biases, strict=True)), heads=3)
    q, k, v = (np.einsum("bni,oi->bno", x, weights[j]) + biases[j] for j in range(3))
    joined = np.zeros((2, 5, 6))
    for h in range(3):
        part = np.s_[..., 2 * h : 2 * h + 2]
        heads = (value[part][:, None] for value in (q, k, v))
        joined[part] = by_hand(*heads, 1 / math.sqrt(2))[:, 0]
    expected = np.einsum("bni,oi->bno", joined, weights[3]) + biases[3]
    assert_close(module(x), expected, ulps=64)
    alone = module(x[:, :2], CAUSAL)
    np.testing.assert_allclose(module(x, CAUSAL)[:, :2], alone, atol=1e-12)


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), heads=st.integers(1, 3),
       size=st.integers(1, 4), as_written=st.booleans())  # fmt: skip
def test_a_pack_is_attention_with_a_mask_of_blocks(lengths, heads, size, as_written):
    q, k, v = qkv((1, heads, sum(lengths), sum(lengths), size))
    of = np.repeat(np.arange(len(lengths)), lengths)  # which picture a token is of
    mask = (of[:, None] == of)[None, None]
    with textbook() if as_written else nullcontext():
        packed = attention(q, k, v, 0.5, Packed(lengths))
    np.testing.assert_allclose(packed, by_hand(q, k, v, 0.5, mask), atol=1e-13)
