"""The faster NumPy bodies give what the textbook gives: any shape, any memory layout, any tile."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.backends import parallel
from aimv2_np.kernels.numpy import attention as attention_kernels
from aimv2_np.kernels.numpy import cpu, gate
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.linear import linear
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import Mask
from tests.support.models import assert_close, both_model, pixels, text_model, tokens, vision_config, vision_model
from tests.support.tally import compared

DTYPES = st.sampled_from(["float16", "float32", "float64"])
SMALL = st.integers(0, 5)
TILES = [1, 40, 300, 4 << 20]  # bytes: one row at a time, some rows, some pictures, everything at once
BLOCKS = [1, 7, 30, 1 << 16]


@pytest.fixture(scope="module", params=TILES)
def tile(request):
    """How many bytes of scores are computed at once."""
    return request.param


@pytest.fixture(scope="module", params=BLOCKS)
def block(request):
    """How many numbers are gated at once."""
    return request.param


def contiguous(x):
    return x


def transposed(x):
    return np.ascontiguousarray(x.T).T


def by_feature(x):
    """Neighbours in memory: the tokens of one feature; then the pictures of one token."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0, -1) if x.ndim else x


def tokens_last(x):
    """(…, N, d) with the tokens of one feature as neighbours, and pictures next: as heads are split from the above."""
    if x.ndim != 4:
        return by_feature(x)
    return np.ascontiguousarray(x.transpose(1, 3, 0, 2)).transpose(2, 0, 3, 1)


def sliced(x):
    """Every second number of a larger array, backwards along the first axis."""
    larger = np.full([2 * n + 1 for n in x.shape], 9, x.dtype)
    larger[tuple(slice(1, 2 * n + 1, 2) for n in x.shape)] = x[::-1] if x.ndim else x
    return larger[tuple(slice(1, 2 * n + 1, 2) for n in x.shape)][::-1] if x.ndim else x


def broadcast(x):
    """The first item repeated along the first axis, with stride zero."""
    return np.broadcast_to(x[:1], x.shape) if x.ndim and len(x) else x


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = st.sampled_from([contiguous, transposed, by_feature, tokens_last, sliced, broadcast, read_only])


def arrays(seed, dtype, *shapes, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


@contextmanager
def tiles(**sizes):
    """Constants such as SCORES_BYTES set for a moment, so that small arrays too are cut into pieces."""
    with ExitStack() as stack:
        for name, value in sizes.items():
            home = next(module for module in (cpu, attention_kernels, gate) if hasattr(module, name))
            stack.enter_context(patch.object(home, name, value))
        yield


def check(op, inputs, *rest, ulps, size=None):
    """The operation equals its textbook within `ulps` ε of the largest value, keeps dtype and inputs."""
    kept = [x.copy() for x in inputs]
    fast, slow = op(*inputs, *rest), op.textbook(*inputs, *rest)
    for x, copy in zip(inputs, kept, strict=True):
        np.testing.assert_array_equal(x, copy)
        assert not np.may_share_memory(fast, x)
    assert fast.dtype == inputs[0].dtype == slow.dtype
    assert fast.shape == slow.shape
    fast, slow = fast.astype(float), slow.astype(float)
    limit = ulps * np.finfo(inputs[0].dtype).eps * (size if size is not None else np.abs(slow).max(initial=1e-30))
    error = np.abs(fast - slow).max(initial=0)
    assert error <= limit
    compared("faster bodies", float(error / limit), 1.0)


@settings(max_examples=100)
@given(batch=st.lists(SMALL, max_size=3), sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)), dtype=DTYPES,
       bias=st.booleans(), layouts=st.tuples(LAYOUTS, LAYOUTS))  # fmt: skip
def test_linear(batch, sizes, dtype, bias, layouts):
    x, weight, b = arrays(0, dtype, (*batch, sizes[0]), sizes[::-1], sizes[1])
    x, weight = layouts[0](x), layouts[1](weight)
    # Two orders of a sum of at most seven terms of size one to ten.
    check(linear, [x, weight, *([b] if bias else [])], ulps=16, size=10)


@settings(max_examples=100)
@given(shape=st.lists(st.integers(0, 5), max_size=3), size=st.integers(1, 40), dtype=DTYPES, layout=LAYOUTS,
       scale=st.sampled_from([1e-3, 1.0, 100.0]), eps=st.sampled_from([1e-5, 1e-6, 0.1]))  # fmt: skip
def test_rms_norm(shape, size, dtype, layout, scale, eps):
    x, weight = arrays(0, dtype, (*shape, size), size, scale=scale)
    weight = (weight / scale).astype(dtype)
    check(rms_norm, [layout(x), weight], eps, ulps=16)


@pytest.mark.parametrize("name", ["silu", "swish", "gelu", "relu2", "mish"])
@settings(max_examples=40)
@given(shape=st.lists(SMALL, max_size=3), size=st.integers(1, 9), dtype=DTYPES, layouts=st.tuples(LAYOUTS, LAYOUTS),
       scale=st.sampled_from([1.0, 8.0]))  # 32³, of relu2, still fits float16  # fmt: skip
def test_gated(block, name, shape, size, dtype, layouts, scale):
    gate, up = arrays(0, dtype, (*shape, size), (*shape, size), scale=scale)
    with tiles(BLOCK_ELEMENTS=block):
        check(gated, [layouts[0](gate), layouts[1](up)], name, ulps=8)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_gated_by_every_activation(name):
    gate, up = arrays(0, "float32", (3, 50), (3, 50), scale=10.0)
    check(gated, [gate, up], name, ulps=8)


def test_gated_far_out_is_silent():
    """e^-x overflows for x below -88 in float32 and below -709 in float64; the result is then zero."""
    for dtype in ("float32", "float64"):
        gate = np.array([[-1e4, -800, -100, 0, 100, 800, 1e4]], dtype)
        y = gated(gate, np.ones_like(gate), "silu")
        np.testing.assert_allclose(y, [[0, 0, -100 * np.exp(-100.0), 0, 100, 800, 1e4]], rtol=1e-6, atol=1e-36)


MASKS = ["none", "rows", "keys", "both", "one for all", "keys for all"]


def mask_of(kind, batch, queries, keys, seed):
    shape = {
        "rows": (batch, 1, queries, keys), "both": (batch, 1, queries, keys), "keys": (batch, 1, 1, keys),
        "one for all": (1, 1, queries, keys), "keys for all": (1, 1, 1, keys),
    }[kind]  # fmt: skip
    mask = np.random.default_rng(seed).random(shape) < 0.6
    if kind == "rows":  # some queries see nothing at all
        mask[:, :, ::2] = False
    return mask


@pytest.mark.parametrize("kind", MASKS)
@settings(max_examples=40)
@given(sizes=st.tuples(SMALL, *(st.integers(1, 4) for _ in range(4))), dtype=DTYPES, seed=st.integers(0, 9),
       layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS), scale=st.sampled_from([0.0, 0.35, 5.0]))  # fmt: skip
def test_attention(tile, kind, sizes, dtype, seed, layouts, scale):
    b, h, n, m, d = sizes
    inputs = arrays(seed, dtype, (b, h, n, d), (b, h, m, d), (b, h, m, d))
    q, k, v = (layout(x) for layout, x in zip(layouts, inputs, strict=True))
    view = [] if kind == "none" else [Mask(mask_of(kind, b, n, m, seed))]
    with tiles(SCORES_BYTES=tile):
        kept = [each.mask.copy() for each in view]
        # Scores reach about 5 · 30 = 150: their rounding is that of the exponents. Values are of size one to four.
        check(attention, [q, k, v], scale, *view, ulps=8 + 40 * scale, size=4)
        assert all((x.mask == y).all() for x, y in zip(view, kept, strict=True))


def test_tiles_at_every_boundary(tile):
    """One query more and less than fills a tile, for one to five pictures."""
    for batch in range(1, 6):
        for queries in range(1, 12):
            q, k, v = arrays(batch, "float64", (batch, 2, queries, 3), (batch, 2, 5, 3), (batch, 2, 5, 3))
            mask = np.tril(np.ones((queries, 5), bool))[None, None]
            with tiles(SCORES_BYTES=tile):
                check(attention, [q, k, v], 0.5, ulps=16)
                check(attention, [q, k, v], 0.5, Mask(mask), ulps=16)


def test_tiles_are_what_bounds_the_memory(monkeypatch):
    """No product of queries and keys is larger than SCORES_BYTES, unless one row alone is."""
    sizes = []

    def attend(q, k, *rest, attend=attention_kernels._attend):
        sizes.append(q[..., 0].size * k.shape[-2] * q.itemsize)
        attend(q, k, *rest)

    monkeypatch.setattr(attention_kernels, "SCORES_BYTES", 1000)
    monkeypatch.setattr(attention_kernels, "_attend", attend)
    q, k, v = arrays(0, "float64", (4, 2, 30, 3), (4, 2, 20, 3), (4, 2, 20, 3))
    result = attention(q, k, v, 0.5)
    np.testing.assert_allclose(result, attention.textbook(q, k, v, 0.5), atol=1e-13)
    assert len(sizes) > 10
    assert max(sizes) <= 1000
    assert sum(sizes) == 4 * 2 * 30 * 20 * 8


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_merging_heads_of_the_result_copies_nothing(dtype):
    q, k, v = arrays(0, dtype, (2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4))
    result = attention(q, k, v, 0.5)
    if dtype != "float16":
        assert result.swapaxes(1, 2).flags.c_contiguous


def test_keyword_arguments_are_taken():
    x, weight, bias = arrays(0, "float32", (2, 3), (4, 3), 4)
    np.testing.assert_array_equal(linear(x, weight=weight, bias=bias), linear(x, weight, bias))
    np.testing.assert_array_equal(rms_norm(x, weight=bias[:3], eps=1e-5), rms_norm(x, bias[:3], 1e-5))


def test_float16_is_the_textbook():
    x, weight = arrays(0, "float16", (20, 30), 30)
    np.testing.assert_array_equal(rms_norm(x, weight, 1e-5), rms_norm.textbook(x, weight, 1e-5))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_does_not_depend_on_the_tiles(tile, dtype):
    model = vision_model().to(dtype=dtype)
    expected = model(pixels(3))
    with tiles(SCORES_BYTES=tile, BLOCK_ELEMENTS=max(1, tile // 8)):
        output = model(pixels(3))
    assert_close(output.last_hidden_state, expected.last_hidden_state, ulps=50)
    assert_close(output.pooler_output, expected.pooler_output, ulps=50)


BIG = {"hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 2}
SLICED = {"WORTH_A_THREAD": 0, "JOB_TOKENS": 20}  # so that small arrays too are shared out, in several jobs


@settings(max_examples=150)
@given(sizes=st.tuples(st.integers(0, 7), st.integers(1, 9)), workers=st.integers(1, 4), job=st.integers(1, 40),
       kind=st.sampled_from(MASKS), dtype=DTYPES, layout=LAYOUTS, seed=st.integers(0, 9))  # fmt: skip
def test_blocks_in_slices(sizes, workers, job, kind, dtype, layout, seed):
    """Any number of pictures and tokens on any number of cores, with what is left over and rounds of all sizes."""
    batch, count = sizes
    layers = text_model().to(dtype=dtype).encoder.layers
    (x,) = arrays(seed, dtype, (batch, count, 12))
    view = [] if kind == "none" else [Mask(mask_of(kind, batch, count, count, seed))]
    with tiles(WORTH_A_THREAD=0, JOB_TOKENS=job, cores=lambda: workers):
        x = layout(x)
        kept = x.copy()
        fast, slow = run_layers(x, layers, *view), run_layers.textbook(x, layers, *view)
    np.testing.assert_array_equal(x, kept)
    assert fast.dtype == slow.dtype == x.dtype
    assert fast.shape == slow.shape
    assert_close(fast, slow, ulps=60)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_does_not_depend_on_the_number_of_threads(dtype):
    model = both_model().to(dtype=dtype)
    inputs = tokens(5, 7), pixels(3)
    expected = model(*inputs)
    for workers in (1, 2, 3, 5):
        with tiles(**SLICED, cores=lambda workers=workers: workers):
            output = model(*inputs)
        assert_close(output.logits_per_image, expected.logits_per_image, ulps=50)
        assert_close(output.text_model_output.last_hidden_state, expected.text_model_output.last_hidden_state, ulps=50)


def test_an_error_in_one_slice_ends_the_call():
    """The others do not wait for it for ever, and BLAS has its threads back."""
    before = [lib.num_threads for lib in parallel.blas_libraries()]
    model = vision_model()
    model.encoder.layers[1].ffn.gate_proj = None
    for count in (1, 3):
        with tiles(**SLICED, cores=lambda: 3), pytest.raises((TypeError, AttributeError), match="NoneType"):
            model(pixels(count))
    assert [lib.num_threads for lib in parallel.blas_libraries()] == before


@pytest.mark.parametrize("sizes", [{}, SLICED])
def test_many_threads_may_call_one_model(sizes):
    """Work arrays belong to a call: eight threads get to the bit what each call gets alone."""
    model = both_model(vision_config=vision_config(**BIG))
    jobs = [(tokens(2, 3 + i % 5, seed=i), pixels(1 + i % 3, seed=i)) for i in range(64)]
    with tiles(**sizes), ThreadPoolExecutor(8) as pool:
        alone = [model(*job) for job in jobs]
        together = list(pool.map(lambda job: model(*job), jobs))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.logits_per_image, other.logits_per_image)
        np.testing.assert_array_equal(one.image_embeds, other.image_embeds)
        np.testing.assert_array_equal(
            one.text_model_output.last_hidden_state, other.text_model_output.last_hidden_state
        )
