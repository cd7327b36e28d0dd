"""The kernels in C give what the textbook gives: any shape, any memory layout, any number of threads."""

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import textbook
from aimv2_np.backends import parallel
from aimv2_np.backends.narrow import Narrow, round_bits, to_int8
from aimv2_np.kernels.native import bodies, library
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Packed, Padded, Prefix
from tests.kernels.numpy.test_cpu import (  # the properties of every faster body
    BLOCKS,
    LAYOUTS,
    MASKS,
    TILES,
    arrays,
    check,
    mask_of,
    test_attention,  # noqa: F401
    test_gated,  # noqa: F401
    test_gated_by_every_activation,  # noqa: F401
    test_gated_far_out_is_silent,  # noqa: F401
    test_keyword_arguments_are_taken,  # noqa: F401
    test_linear,  # noqa: F401
    test_merging_heads_of_the_result_copies_nothing,  # noqa: F401
    test_rms_norm,  # noqa: F401
)
from tests.support.instruction_sets import kernels  # noqa: F401
from tests.support.models import assert_close, both_model, pixels, text_model, tokens, vision_config, vision_model

THREADS = st.integers(1, 5)


@pytest.fixture(scope="module")
def tile():
    """Bytes of scores that NumPy computes at once: nothing to these kernels, and so not all that there are."""
    return TILES[0]


@pytest.fixture(scope="module")
def block():
    """The same of numbers that are gated."""
    return BLOCKS[0]


@contextmanager
def threads(count):
    """Calls share out their work among `count` threads, however little it is."""
    with patch.object(bodies, "WORTH_A_THREAD", 1), patch.object(parallel, "threads", lambda: count):
        yield


def served(operation, *args):
    """What the kernels return; AssertionError where they leave it to NumPy."""
    left = []
    with patch.dict(bodies.otherwise, {operation: lambda *args, **kwargs: left.append(1)}):
        result = operation(*args)
    assert not left
    return result


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 70), inputs=st.integers(1, 2300), outputs=st.integers(1, 150), bias=st.booleans(),
       count=THREADS)  # fmt: skip
def test_panels_of_all_sizes(rows, inputs, outputs, bias, count):
    """More and fewer than fill a panel, a vector, or the rows that go through it together."""
    x, weight, b = arrays(rows, "float32", (rows, inputs), (outputs, inputs), outputs)
    with threads(count):
        check(linear, [x, weight, *([b] if bias else [])], ulps=4 * np.sqrt(inputs), size=np.sqrt(inputs))
        served(linear, x, weight, b)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 70), inputs=st.integers(1, 1200), outputs=st.integers(1, 150), bias=st.booleans(),
       gap=st.integers(0, 3), kind=st.sampled_from(["bfloat16", "int8"]), count=THREADS)  # fmt: skip
def test_narrow_weights_give_the_bits_of_wide_ones(rows, inputs, outputs, bias, gap, kind, count):
    x, weight, b = arrays(rows, "float32", (rows, inputs), (outputs, inputs + gap), outputs)
    bits = (weight.view(np.uint32) >> 16).astype(np.uint16)
    narrow = to_int8(weight) if kind == "int8" else Narrow(bits)
    narrow = Narrow(narrow.numbers[:, gap:], narrow.scale)
    with threads(count):
        expected = linear(x, narrow.widened(), b if bias else None)
        with patch.object(Narrow, "widened", lambda self: pytest.fail("a float32 copy")):
            found = served(linear, x, narrow, b if bias else None)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 70), inputs=st.integers(1, 2300), outputs=st.integers(1, 150), bias=st.booleans(),
       gap=st.integers(0, 3), count=THREADS)  # fmt: skip
def test_products_of_bfloat16(rows, inputs, outputs, bias, gap, count):
    """Both factors rounded, sums in float32: what the textbook gives, and the same bits for any number of threads."""
    x, weight, b = arrays(rows, "float32", (rows, inputs + gap), (outputs, inputs + gap), outputs)
    x, narrow = x[:, gap:], Narrow(round_bits(weight)[:, gap:], rounds=True)
    arguments = [x, narrow, *([b] if bias else [])]
    with textbook():
        expected = linear(*arguments)
    with threads(count):
        computed = served(linear, *arguments)
        atol = 4 * inputs * np.finfo("float32").eps
        np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=atol)
    with threads(1):
        np.testing.assert_array_equal(linear(*arguments), computed)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 300), inputs=st.integers(1, 100), outputs=st.integers(1, 150), count=THREADS)
def test_whole_numbers_are_exact(rows, inputs, outputs, count):
    """Where no sum is rounded, no product is missing, and none is there twice; more rows, too, than a task has."""
    rng = np.random.default_rng(rows)
    x, weight = (rng.integers(-9, 9, (n, inputs), endpoint=True).astype(np.float32) for n in (rows, outputs))
    with threads(count):
        y = served(linear, x, Narrow(round_bits(weight), rounds=True))
    np.testing.assert_array_equal(y, x @ weight.T)


def test_bfloat16_that_is_not_finite_stays_so():
    x, weight = arrays(0, "float32", (4, 40), (20, 40))
    x[0, 3], x[1, 39], x[2, 7] = np.nan, np.inf, np.float32(3.4e38)  # the last rounds up to infinity
    y = linear(x, Narrow(round_bits(weight), rounds=True))
    assert not np.isfinite(y[:3]).any()
    assert np.isfinite(y[3]).all()


def test_integers_are_no_weights():
    """Numbers that look like those of a narrow matrix, but say of themselves that they are whole."""
    x, weight = arrays(0, "float32", (3, 20), (5, 20))
    for dtype in (np.uint16, np.int8):
        whole = np.rint(10 * np.abs(weight)).astype(dtype)
        np.testing.assert_allclose(linear(x, whole), x @ whole.T.astype(np.float32), rtol=1e-5, atol=1e-4)


def test_rows_of_larger_arrays_are_not_copied(monkeypatch):
    """Every third column block of a wider array, and some rows of a taller weight."""
    x, weight = arrays(0, "float32", (40, 300), (90, 100))
    monkeypatch.setattr(np, "ascontiguousarray", lambda x: pytest.fail("a copy"))
    np.testing.assert_allclose(linear(x[:, 100:200], weight[20:70]), x[:, 100:200] @ weight[20:70].T, atol=1e-4)


def channels_last(x):
    """(B, C, height, width) with the colours of a pixel as neighbours, as picture files have them."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


PATCHES = {
    "channels": st.integers(1, 4), "size": st.tuples(st.integers(1, 17), st.integers(1, 17)),
    "grid": st.tuples(st.integers(1, 3), *[st.integers(1, 5)] * 2), "left": st.tuples(*[st.integers(0, 16)] * 2),
    "outputs": st.integers(1, 60), "layout": LAYOUTS | st.just(channels_last), "count": st.integers(1, 8),
}  # fmt: skip


def pictures(channels, size, grid, left, outputs):
    """Pixels whose last rows and columns fill no patch, and what embeds them."""
    batch, rows, columns = grid
    pixels = [n * p + extra % p for n, p, extra in zip((rows, columns), size, left, strict=True)]
    return arrays(outputs, "float32", (batch, channels, *pixels), (outputs, channels, *size), outputs)


@settings(max_examples=60, deadline=None)
@given(**PATCHES)
def test_patches(channels, size, grid, left, outputs, layout, count):
    """The bits of cutting first and one product afterwards, whatever the strides and the number of threads."""
    pixels, weight, bias = pictures(channels, size, grid, left, outputs)
    pixels = layout(pixels)
    kept = pixels.copy()
    with threads(count):
        y = served(patch_embed, pixels, weight, bias)
        np.testing.assert_array_equal(y, patch_embed.textbook(pixels, weight, bias))
    np.testing.assert_array_equal(pixels, kept)
    with textbook():
        expected = patch_embed(pixels, weight, bias)
    np.testing.assert_allclose(y, expected, rtol=0, atol=4 * weight[0].size * np.finfo("float32").eps)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["bfloat16", "int8", "rounded"]), **PATCHES)
def test_patches_with_narrow_weights(kind, channels, size, grid, left, outputs, layout, count):
    """They are widened on the way, and never as a whole."""
    pixels, weight, bias = pictures(channels, size, grid, left, outputs)
    flat = weight.reshape(outputs, -1)
    narrow = to_int8(flat) if kind == "int8" else Narrow(round_bits(flat), rounds=kind == "rounded")
    stored = Narrow(narrow.numbers.reshape(weight.shape), narrow.scale, narrow.rounds)
    pixels = layout(pixels)
    with threads(count):
        if kind == "rounded":
            expected = patch_embed.textbook(pixels, stored, bias)
        else:
            expected = patch_embed(pixels, stored.widened(), bias)
        with patch.object(Narrow, "widened", lambda self: pytest.fail("a float32 copy")):
            found = served(patch_embed, pixels, stored, bias)
    np.testing.assert_array_equal(found, expected)


def test_more_patches_than_go_through_together():
    pixels, weight, bias = arrays(0, "float32", (5, 3, 40, 61), (7, 3, 2, 2), 7)
    for count in range(1, 9):
        with threads(count):
            np.testing.assert_array_equal(
                served(patch_embed, pixels, weight, bias), patch_embed.textbook(pixels, weight, bias)
            )


def test_pixels_are_not_copied(monkeypatch):
    """Neither a window of larger pictures, mirrored and with colours as neighbours, nor what fills no patch."""
    pixels, weight, bias = arrays(0, "float32", (2, 3, 50, 61), (20, 3, 7, 5), 20)
    window = channels_last(pixels)[:, ::-1, 3:40, 50:2:-1]
    expected = patch_embed.textbook(window, weight, bias)
    monkeypatch.setattr(bodies, "packed", lambda x: pytest.fail("a copy"))
    monkeypatch.setattr(np, "ascontiguousarray", lambda x: pytest.fail("a copy"))
    np.testing.assert_array_equal(served(patch_embed, window, weight, bias), expected)
    window = window.copy()
    window[:, :, 35:], window[..., 45:] = np.nan, np.nan
    np.testing.assert_array_equal(served(patch_embed, window, weight, bias), expected)


@pytest.mark.parametrize(("batch", "height"), [(0, 8), (2, 3)])
def test_no_patches(batch, height):
    pixels, weight, bias = arrays(0, "float32", (batch, 3, height, 8), (5, 3, 4, 4), 5)
    y = patch_embed(pixels, weight, bias)
    assert y.dtype == np.float32
    assert y.shape == (batch, height // 4 * 2, 5)


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 450), st.integers(1, 600),
                       st.sampled_from([1, 3, 16, 33, 64, 80])),
       kind=st.sampled_from(MASKS), layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS), scale=st.sampled_from([0.1, 1.0]),
       order=st.sampled_from(["rising", "falling", "random"]), count=THREADS)  # fmt: skip
def test_sums_that_run_on_from_tile_to_tile(sizes, kind, layouts, scale, order, count):
    """Also where the scores of the next tile are far larger or smaller, and where some queries see nothing."""
    b, h, n, m, d = sizes
    q, k, v = arrays(0, "float32", (b, h, n, d), (b, h, m, d), (b, h, m, d))
    if order != "random":
        k = np.sort(np.abs(k), axis=2)[:, :, :: 1 if order == "rising" else -1]
        q = np.abs(q)
    q, k, v = (layout(x) for layout, x in zip(layouts, (q, k, v), strict=True))
    view = EVERYONE if kind == "none" else Mask(mask_of(kind, b, n, m, 0))
    with threads(count):
        # Scores reach 16 √d or d, and the rounding of a score is that of e^x, relative to itself.
        check(attention, [q, k, v], scale, view, ulps=16 + 40 * scale * d, size=4)


VIEWS = {
    "everyone": EVERYONE,
    "causal": CAUSAL,
    "prefix": Prefix(np.array([0, 3, 300])),
    "padded": Padded((np.arange(300) < np.array([[1], [150], [300]])).astype(int)),
    "causal and padded": CAUSAL & Padded((np.arange(300) > np.array([[10], [0], [290]])).astype(int)),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("count", [1, 3])
def test_views(view, count):
    q, k, v = arrays(1, "float32", (3, 2, 300, 16), (3, 2, 300, 16), (3, 2, 300, 16))
    with threads(count):
        check(attention, [q, k, v], 0.25, view, ulps=100, size=4)
        served(attention, q, k, v, 0.25, view)


def test_packs():
    """Also the queries of a pooling head: one for each sequence, all in the same place."""
    view = Packed((1, 250, 30))
    q, k, v = arrays(1, "float32", (1, 2, 281, 16), (1, 2, 281, 16), (1, 2, 281, 16))
    check(attention, [q, k, v], 0.25, view, ulps=100, size=4)
    check(attention, [np.broadcast_to(q[:, :, :1], (1, 2, 3, 16)), k, v], 0.25, view.pooled(), ulps=100, size=4)


@pytest.mark.parametrize("size", [1e3, 1e5, 1e9, 1e17])
def test_huge_scores_leave_one_key(size):
    """The largest score of a row is its own maximum, whatever it is rounded to."""
    q, k, v = arrays(3, "float32", (2, 2, 70, 24), (2, 2, 300, 24), (2, 2, 300, 24))
    with np.errstate(all="ignore"):
        found = attention(size * q, size * k, v, 0.2041)
        with textbook():
            expected = attention(size * q, size * k, v, 0.2041)
    assert np.isfinite(found).all()
    assert (np.abs(found - expected).max(axis=-1) < 1e-3).mean() > 0.98  # ties may be rounded to one key or another


@pytest.mark.parametrize("peak", [1, 24, 200])
def test_peaked_scores(peak):
    """Scores whose e^x is denormal count as zero."""
    q, k, v = arrays(0, "float32", (1, 2, 500, 16), (1, 2, 500, 16), (1, 2, 500, 16))
    q *= peak
    with textbook():
        exact = attention(*(x.astype("float64") for x in (q, k, v)), 0.25)
    np.testing.assert_allclose(attention(q, k, v, 0.25), exact, atol=60 * peak * np.finfo("float32").eps)


def test_squares_that_overflow_are_nan():
    x = np.full((2, 40), 1e20, np.float32)
    x[1] = 1
    y = rms_norm(x, np.ones(40, np.float32), 1e-5)
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(bad):
    q, k, v = arrays(0, "float32", (1, 1, 30, 8), (1, 1, 30, 8), (1, 1, 30, 8))
    k[0, 0, 7, 2] = v[0, 0, 7, 2] = bad
    assert not np.isfinite(attention(q, k, v, 0.5)).all()
    gate, up = np.array([[bad, 1, -1]], np.float32), np.ones((1, 3), np.float32)
    assert not np.isfinite(gated(gate, up, "silu"))[0, 0]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 40)), kind=st.sampled_from(MASKS), layout=LAYOUTS, count=THREADS
)
def test_layers(sizes, kind, layout, count):
    batch, tokens = sizes
    layers = text_model().encoder.layers
    (x,) = arrays(0, "float32", (batch, tokens, 12))
    x = layout(x)
    view = EVERYONE if kind == "none" else Mask(mask_of(kind, batch, tokens, tokens, 0))
    kept = x.copy()
    with threads(count):
        y = served(run_layers, x, layers, view)
    np.testing.assert_array_equal(x, kept)
    assert_close(y, run_layers.textbook(x, layers, view), ulps=60)


@pytest.mark.parametrize("name", sorted(bodies.ACTIVATIONS))
def test_layers_by_every_activation(name):
    layers = text_model(hidden_act=name).encoder.layers
    (x,) = arrays(0, "float32", (2, 5, 12))
    assert_close(served(run_layers, x, layers), run_layers.textbook(x, layers), ulps=60)


def test_other_activations_are_numpys():
    name = next(name for name in ACTIVATIONS if name not in bodies.ACTIVATIONS)
    layers = text_model(hidden_act=name).encoder.layers
    (x,) = arrays(0, "float32", (2, 5, 12))
    assert_close(run_layers(x, layers), run_layers.textbook(x, layers), ulps=60)


def same_bits(model, *inputs):
    """What a model gives, which is the same to the bit with any number of threads."""
    with threads(1):
        expected = model(*inputs)
    for count in (2, 3, 5):
        with threads(count):
            output = model(*inputs)
        for name in ("logits_per_image", "text_embeds", "image_embeds"):
            np.testing.assert_array_equal(output[name], expected[name])
    return expected


def test_the_same_bits_with_any_number_of_threads():
    same_bits(both_model(), tokens(5, 7), pixels(3))


def test_the_same_bits_in_any_batch():
    model = vision_model()
    together = model(pixels(5)).last_hidden_state
    for i in range(5):
        np.testing.assert_array_equal(model(pixels(5)[i : i + 1]).last_hidden_state, together[i : i + 1])


def test_many_threads_may_call_one_model():
    model = both_model(vision_config=vision_config(hidden_size=64, intermediate_size=80))
    jobs = [(tokens(2, 3 + i % 5, seed=i), pixels(1 + i % 3, seed=i)) for i in range(40)]
    with threads(3), ThreadPoolExecutor(8) as pool:
        alone = [model(*job) for job in jobs]
        together = list(pool.map(lambda job: model(*job), jobs))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.logits_per_image, other.logits_per_image)


def _in_child(queue, name):
    with library.using(name), threads(2):
        queue.put(float(vision_model()(pixels(2)).last_hidden_state.sum()))


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_processes(start, kernels):  # noqa: F811
    """A child has no threads of its parent's, whose calls have ended with all of theirs."""
    context = get_context(start)
    with threads(2):
        expected = float(vision_model()(pixels(2)).last_hidden_state.sum())
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, kernels))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join()


def test_a_signal_in_the_middle_of_a_call():
    """It is answered when the call has ended, and nothing is interrupted."""
    answered = []
    before = signal.signal(signal.SIGALRM, lambda *_: answered.append(1))
    x, weight = arrays(0, "float32", (4000, 600), (600, 600))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with threads(2):
            for _ in range(5):
                y = linear(x, weight)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert answered
    np.testing.assert_allclose(y[:3], x[:3] @ weight.T, atol=1e-3)


def test_calls_at_once_share_the_cores(monkeypatch):
    """The second call while the first one runs takes half of them; a small one takes as many as it can keep busy."""
    monkeypatch.setattr(parallel, "threads", lambda: 8)
    threads, enough = bodies._sharing.threads, bodies.WORTH_A_THREAD
    with threads(100 * enough) as first, threads(100 * enough) as second:
        assert (first, second) == (8, 4)
    for times, expected in ((0, 1), (1, 1), (3, 3), (20, 8)):
        with threads(times * enough) as count:
            assert count == expected


def test_what_the_kernels_do_not_take_is_numpys():
    """Other dtypes, weights of which the numbers of a row do not follow one another, scales that are not positive."""
    x, weight = arrays(0, "float32", (5, 7), (3, 7))
    for each in (weight.astype("float64"), np.asfortranarray(weight), weight[:, ::-1]):
        np.testing.assert_allclose(linear(x, each), x @ each.T, rtol=1e-5, atol=1e-5)
    q, k, v = arrays(0, "float32", (1, 1, 3, 4), (1, 1, 3, 4), (1, 1, 3, 4))
    np.testing.assert_allclose(attention(q, k, v, -1.0), attention.textbook(q, k, v, -1.0), rtol=1e-4, atol=1e-5)


def test_no_memory():
    """What the kernels cannot allocate is a MemoryError."""
    with pytest.raises(MemoryError, match="no memory"):
        bodies.call(lambda *_: -1, 0)


def odd(x):
    """The same numbers with two bytes between any two of them: strides that are no whole number of floats."""
    record = np.zeros(x.shape, [("x", np.float32), ("gap", "u2")])
    record["x"] = x
    return record["x"]


def test_strides_and_addresses_that_are_no_whole_numbers():
    x, weight, bias = arrays(0, "float32", (5, 7), (3, 7), 3)
    shifted = np.zeros(4 * weight.size + 1, np.uint8)[1:].view(np.float32).reshape(weight.shape)
    shifted[...] = weight
    for a, b, c in ((odd(x), weight, bias), (x, odd(weight), bias), (x, weight, odd(bias)), (x, shifted, bias)):
        np.testing.assert_allclose(linear(a, b, c), x @ weight.T + bias, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            rms_norm(odd(x), np.ones(7, np.float32), 0.1), rms_norm(x, np.ones(7, np.float32), 0.1)
        )
    x, weight, bias = arrays(0, "float32", (2, 3, 9, 8), (5, 3, 4, 2), 5)
    for a, b, c in ((odd(x), weight, bias), (x, odd(weight), bias), (x, weight, odd(bias))):
        np.testing.assert_allclose(patch_embed(a, b, c), patch_embed(x, weight, bias), rtol=1e-5, atol=1e-5)
    q, k, v = arrays(0, "float32", (1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4))
    np.testing.assert_allclose(attention(odd(q), k, odd(v), 0.5), attention(q, k, v, 0.5))


WRONG = {
    "inputs": lambda x: linear(x((2, 7)), x((3, 8))),
    "bias": lambda x: linear(x((2, 7)), x((3, 7)), x((4,))),
    "colours": lambda x: patch_embed(x((1, 4, 8, 8)), x((5, 3, 2, 2)), x((5,))),
    "patch": lambda x: patch_embed(x((1, 3, 8, 8)), x((5, 12)), x((5,))),
    "bias of patches": lambda x: patch_embed(x((1, 3, 8, 8)), x((5, 3, 2, 2)), x((4,))),
    "gain": lambda x: rms_norm(x((2, 7)), x((8,)), 1e-5),
    "gate": lambda x: gated(x((2, 7)), x((2, 8)), "silu"),
    "keys": lambda x: attention(x((1, 2, 3, 4)), x((1, 2, 5, 3)), x((1, 2, 5, 4)), 0.5),
    "values": lambda x: attention(x((1, 2, 3, 4)), x((1, 2, 5, 4)), x((1, 2, 6, 4)), 0.5),
    "heads": lambda x: attention(x((1, 2, 3, 4)), x((1, 3, 5, 4)), x((1, 3, 5, 4)), 0.5),
    "mask": lambda x: attention(
        x((1, 2, 3, 4)), x((1, 2, 5, 4)), x((1, 2, 5, 4)), 0.5, Mask(np.ones((1, 1, 3, 6), bool))
    ),
    "layers": lambda x: run_layers(x((1, 5, 13)), text_model().encoder.layers),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_shapes_that_do_not_fit_are_numpys_to_complain_of(call):
    """The kernels would read what is not theirs."""
    with pytest.raises(
        (ValueError, TypeError), match=r"shape|dimension|broadcast|matmul|size|Type-check"
    ):  # or jaxtyping's
        call(lambda shape: np.ones(shape, np.float32))


def test_layers_with_a_weight_of_another_shape():
    model = text_model()
    model.encoder.layers[1].ffn.down_proj.weight = np.ones((12, 3), np.float32)
    with pytest.raises(ValueError, match="matmul"):
        run_layers(np.ones((1, 5, 12), np.float32), model.encoder.layers)
