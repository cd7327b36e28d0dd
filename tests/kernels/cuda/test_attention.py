"""Every way of attention on the device against the textbook in float64."""

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.kernels.cuda import attention as module
from aimv2_np.network.attention import attention
from aimv2_np.network.view import EVERYONE, Mask, Packed
from tests.kernels.cuda.arrays import (
    DTYPES,
    EPS32,
    LAYOUTS,
    assert_within,
    contiguous,
    dtypes,
    eps,
    exact,
    heads_inside,
    normal,
)  # fmt: skip

MASKS = ["none", "rows", "keys", "one for all", "keys for all"]
FLOAT32 = ["float32"]


@contextmanager
def settings_of(**values):
    """Limits of the module set for a moment, to choose the way."""
    before = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def mask_of(kind, batch, queries, keys, seed):
    shape = {
        "rows": (batch, 1, queries, keys), "keys": (batch, 1, 1, keys), "one for all": (1, 1, queries, keys),
        "keys for all": (1, 1, 1, keys),
    }[kind]  # fmt: skip
    mask = np.random.default_rng(seed).random(shape) < 0.6
    if kind == "rows":  # some queries see nothing at all
        mask[:, :, ::2] = False
    return mask


def limit(dtype, q, k, v, scale):
    """Probabilities and the result are rounded to the type, half an ε each; scores are float32 sums of d products.

    A score's error is its numbers' sizes times some ε of float32, and moves its probability by as much, relatively.
    """
    scores = abs(scale) * np.abs(exact(q)) @ np.abs(exact(k)).swapaxes(-1, -2)
    half = 1.02 * eps(dtype) if dtype != "float32" else 0
    return np.abs(exact(v)).max(initial=0) * (half + EPS32 * (16 + 8 * scores.max(initial=0)))


def check(cupy, inputs, scale, mask=None, layouts=(contiguous,) * 3):
    dtype = inputs[0].dtype.name
    device = [layout(cupy, x) for layout, x in zip(layouts, inputs, strict=True)]
    here, there = (EVERYONE, EVERYONE) if mask is None else (Mask(mask), Mask(cupy.asarray(mask)))
    y = attention(*device, scale, there)
    assert y.dtype == inputs[0].dtype
    expected = attention.textbook(*map(exact, inputs), scale, here)
    assert_within(y, expected, limit(dtype, *inputs, scale))
    assert not y.size or y.swapaxes(1, 2).flags.c_contiguous  # merging the heads copies nothing
    for x, kept in zip(device, inputs, strict=True):
        np.testing.assert_array_equal(x.get(), kept)


WAYS = {
    "products": {"TENSOR_CORE_HEAD": 0},
    "products by parts": {"TENSOR_CORE_HEAD": 0, "SCORES_BYTES": 200},
    "tiles": {"TENSOR_CORE_HEAD": 0, "SHORT": 0},
    "tensor cores": {"_rows": lambda p: 64},
    "tensor cores, 128 rows": {"_rows": lambda p: 128},
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40)
@given(sizes=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
       d=st.sampled_from([1, 3, 4, 8, 16, 24, 40]), dtype=dtypes, kind=st.sampled_from(MASKS), seed=st.integers(0, 9),
       layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS), scale=st.sampled_from([0.0, 0.35, -0.35, 3.0]))  # fmt: skip
def test_any_shape_layout_and_mask(cupy, way, sizes, d, dtype, kind, seed, layouts, scale):
    batch, heads, queries, keys = sizes
    inputs = normal(seed, dtype, (batch, heads, queries, d), *[(batch, heads, keys, d)] * 2)
    mask = None if kind == "none" else mask_of(kind, batch, queries, keys, seed)
    with settings_of(**WAYS[way]):
        check(cupy, inputs, scale, mask, layouts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "products by parts"])
@pytest.mark.parametrize(("queries", "keys"), [(64, 64), (65, 63), (63, 129), (130, 31), (1, 200)])
@pytest.mark.parametrize("d", [128, 72, 64])
def test_the_ends_of_tiles(cupy, dtype, way, queries, keys, d):
    inputs = normal(queries, dtype, (1, 2, queries, d), (1, 2, keys, d), (1, 2, keys, d))
    mask = np.random.default_rng(keys).random((1, 1, queries, keys)) < 0.7
    with settings_of(**WAYS[way]):
        check(cupy, inputs, d**-0.5, None, (heads_inside,) * 3)
        check(cupy, inputs, d**-0.5, mask, (heads_inside,) * 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("keys", "slope"), [(200, 4), (700, 60)])
def test_growing_scores(cupy, dtype, keys, slope):
    """Each tile's largest score is above all before it: what has been summed is scaled down every time.

    With 700 keys e^x of the last is infinite unless the largest of all of them has been found.
    """
    q, k, v = normal(0, dtype, (1, 1, 5, 16), (1, 1, keys, 16), (1, 1, keys, 16))
    k[...] = (np.abs(q[0, 0, :1].astype(np.float32)) * np.linspace(0, slope, keys)[:, None]).astype(k.dtype)
    q = np.abs(q)
    for way in WAYS:
        with settings_of(**WAYS[way]):
            check(cupy, [q, k, v], 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["products", "tiles", "tensor cores"])
def test_several_pictures_and_masks_that_forbid_all(cupy, dtype, way):
    """A query that may see nothing gets the mean of all values; another picture has another mask."""
    inputs = normal(0, dtype, (2, 2, 5, 8), (2, 2, 70, 8), (2, 2, 70, 8))
    mask = np.random.default_rng(0).random((2, 1, 5, 70)) < 0.5
    mask[0, :, 2] = False
    with settings_of(**WAYS[way]):
        check(cupy, inputs, 0.35, mask)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("keys", "d"), [(1, 8), (31, 128), (256, 128), (70, 12), (40, 7), (33, 256)])
def test_one_query(cupy, dtype, keys, d):
    """The pooling head's: the same query for all pictures, with stride zero."""
    q, k, v = normal(0, dtype, (1, 2, 1, d), (3, 2, keys, d), (3, 2, keys, d))
    y = attention(cupy.broadcast_to(cupy.asarray(q), (3, 2, 1, d)), cupy.asarray(k), cupy.asarray(v), d**-0.5)
    q = np.broadcast_to(q, (3, 2, 1, d))
    expected = attention.textbook(exact(q), exact(k), exact(v), d**-0.5)
    assert_within(y, expected, limit(dtype, q, k, v, d**-0.5))


@settings(max_examples=25)
@given(lengths=st.lists(st.integers(1, 80), min_size=1, max_size=5), d=st.sampled_from([8, 24, 128]), dtype=dtypes,
       seed=st.integers(0, 9))  # fmt: skip
def test_packed(cupy, lengths, d, dtype, seed):
    """Sequences in a row see themselves alone, to the bit as if they came one by one in tiles."""
    total, lengths = sum(lengths), tuple(lengths)
    inputs = normal(seed, dtype, *[(1, 2, total, d)] * 3)
    device = [heads_inside(cupy, x) for x in inputs]
    y = attention(*device, d**-0.5, Packed(lengths))
    query, _ = normal(seed + 1, dtype, (1, 2, 1, d), 1)
    same = cupy.broadcast_to(cupy.asarray(query), (1, 2, len(lengths), d))
    pooled = attention(same, *device[1:], d**-0.5, Packed(lengths).pooled())
    assert pooled.shape == same.shape
    start = 0
    for i, length in enumerate(lengths):
        n = slice(start, start := start + length)
        own = [x[:, :, n] for x in inputs]
        expected = attention.textbook(*map(exact, own), d**-0.5)
        assert_within(y[:, :, n], expected, limit(dtype, *own, d**-0.5))
        expected = attention.textbook(exact(query), *map(exact, own[1:]), d**-0.5)
        assert_within(pooled[:, :, i : i + 1], expected, limit(dtype, query, *own[1:], d**-0.5))


def test_large_heads_go_by_products(cupy):
    inputs = normal(0, "float16", (1, 1, 3, 200), (1, 1, 5, 200), (1, 1, 5, 200))
    check(cupy, inputs, 200**-0.5)
    device = [cupy.asarray(x[:, :, :3]) for x in inputs]
    y = attention(*device, 0.1, Packed((1, 2)))
    own = [x[:, :, 1:3] for x in inputs]
    expected = attention.textbook(*map(exact, own), 0.1)
    assert_within(y[:, :, 1:], expected, limit("float16", *own, 0.1))


@pytest.mark.parametrize(("dtype", "d"), [("float64", 8), ("float16", 200), ("float32", 300)])
@pytest.mark.parametrize("queries", [None, (1, 1, 1), (2, 1, 3)])
def test_a_pack_for_which_there_is_no_kernel(cupy, monkeypatch, dtype, d, queries):
    """Its sequences one by one, so that memory is for the longest of them: nobody makes a mask of the whole row."""
    monkeypatch.setattr(Packed, "allowed", lambda *_: pytest.fail("a mask of the whole pack"))
    lengths = (5, 1, 7)
    view, kind = Packed(lengths, queries), DTYPES.get(dtype, np.float64)
    shapes = [(1, 2, n, d) for n in (sum(queries or lengths), sum(lengths), sum(lengths))]
    inputs = [x.astype(kind) for x in normal(0, "float32", *shapes)]
    y = attention(*map(cupy.asarray, inputs), d**-0.5, view)
    assert (y.shape, y.dtype) == (shapes[0], kind)
    for some, own in view.slices():
        parts = [inputs[0][:, :, some], inputs[1][:, :, own], inputs[2][:, :, own]]
        within = 1e-14 if dtype == "float64" else limit(dtype, *parts, d**-0.5)
        assert_within(y[:, :, some], attention.textbook(*map(exact, parts), d**-0.5), within)


def test_scores_at_once_are_bounded(cupy, monkeypatch):
    sizes = []
    softmax = module._softmax
    monkeypatch.setattr(module, "_softmax", lambda scores, *rest: sizes.append(scores.nbytes) or softmax(scores, *rest))
    with settings_of(SCORES_BYTES=1000, **WAYS["products"]):
        check(cupy, normal(0, "float32", (4, 2, 30, 4), (4, 2, 20, 4), (4, 2, 20, 4)), 0.5)
    assert max(sizes) <= 1000
    assert sum(sizes) == 4 * 2 * 30 * 20 * 4


def test_which_way(cupy):
    if not hasattr(cupy, "RawModule") or cupy.__version__ != "14.2.0" or not _fake(cupy):
        pytest.skip("the stand-in tells which kernels were launched")
    from tests.support import fake_cupy

    def kernels(dtype, queries, keys, d=128, capability="90"):
        q, k, v = normal(0, dtype, (1, 1, queries, d), *[(1, 1, keys, d)] * 2)
        fake_cupy.devices.settings["compute_capability"] = capability
        try:
            fake_cupy.launches.clear()
            attention(*map(cupy.asarray, (q, k, v)), 0.1)
            return [name.partition("<")[0] for name in fake_cupy.launches]
        finally:
            fake_cupy.devices.settings["compute_capability"] = "90"

    assert kernels("float32", 3, 3) == ["softmax"]
    assert kernels("float32", 3, 1025) == ["attention_tiles"]
    assert kernels("float16", 3, 3) == kernels("bfloat16", 3, 1025) == ["attention_tensor_cores"]
    assert kernels("float16", 3, 3, capability="75") == ["softmax"]
    assert kernels("float16", 3, 1025, capability="75") == ["attention_tiles"]
    assert kernels("float16", 3, 1025, d=7) == ["attention_tiles"]
    assert kernels("float16", 1, 1025) == ["attention_one_query"]


H100, A100, L4 = (132, 228 << 10), (108, 164 << 10), (58, 100 << 10)  # multiprocessors, bytes of shared memory of each


@pytest.mark.parametrize(
    ("device", "batch", "heads", "queries", "d", "rows"),
    [
        (H100, 64, 8, 256, 128, 128),  # large at 224 pixels
        (H100, 1, 8, 256, 128, 64),  # 16 blocks of 128 would leave 116 multiprocessors idle
        (H100, 8, 8, 256, 128, 64),  # 128 blocks
        (H100, 9, 8, 256, 128, 128),  # 144
        (H100, 2, 8, 1024, 128, 64),  # 128
        (H100, 3, 8, 1024, 128, 128),  # 192
        (A100, 7, 8, 256, 128, 128),  # 112, of which 108 fill an A100
        (H100, 64, 8, 64, 128, 64),  # half of 128 rows would be empty
        (H100, 64, 8, 65, 128, 128),
        (L4, 64, 8, 256, 128, 64),  # two blocks of 65 KB are more than 100 KB
        (L4, 64, 8, 256, 64, 128),  # registers hold the queries: 33 KB
    ],
)
def test_rows_of_a_block(cupy, device, batch, heads, queries, d, rows):
    one = cupy.empty((1, 1, 1, d), np.float16)
    q = cupy.broadcast_to(one, (batch, heads, queries, d))
    with settings_of(_multiprocessors=lambda xp, i: device):
        assert module._rows(module.Problem(q, q, q, q, 0.1, None)) == rows
        packed = cupy.broadcast_to(one, (1, heads, batch * queries, d))
        starts = cupy.empty(batch + 1, np.int32)
        assert module._rows(module.Problem(*[packed] * 4, 0.1, None, starts, queries)) == rows


@pytest.mark.parametrize(("dim", "rows", "kilobytes"), [(64, 64, 16), (64, 128, 16), (128, 64, 32), (128, 128, 64)])
def test_shared_memory_of_a_block(dim, rows, kilobytes):
    """Of the sizes that docs/gpu.md names."""
    assert module._shared_bytes(dim, rows) == kilobytes << 10


def test_blocks_of_128_rows_are_launched(cupy):
    """Two blocks for each of 34 heads fill 68 multiprocessors; for 33 they do not."""
    inputs = normal(0, "float16", (1, 34, 129, 8), (1, 34, 3, 8), (1, 34, 3, 8))
    with settings_of(_multiprocessors=lambda xp, i: (68, 228 << 10)):
        check(cupy, inputs, 0.3)
        if _fake(cupy):
            from tests.support import fake_cupy

            assert fake_cupy.launches[-1] == "attention_tensor_cores<__half, 64, 128>"
            check(cupy, [x[:, :33] for x in inputs], 0.3)
            assert fake_cupy.launches[-1] == "attention_tensor_cores<__half, 64, 64>"


def test_a_device_says_what_it_has(cupy):
    multiprocessors, shared = module._multiprocessors(cupy, 0)
    assert multiprocessors >= 1
    assert shared >= 48 << 10


def _fake(cupy):
    return cupy.ndarray.__init__.__module__.startswith("tests.")
