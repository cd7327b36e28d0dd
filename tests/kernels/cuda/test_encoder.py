"""The blocks on the device: one residual stream, stacked products, graphs."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aimv2_np.backends.operation import textbook, watching
from aimv2_np.kernels.cuda import encoder, graphs
from aimv2_np.kernels.cuda.gemm import tf32
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.view import Mask, Packed
from aimv2_np.tree.trace import trace
from tests.kernels.cuda.arrays import DTYPES, eps, exact, normal, on_device
from tests.support.graphs import counted
from tests.support.models import text_model, vision_model

BIASES = {"qkv_bias": True, "mlp_bias": True}


def blocks(cupy, dtype="float32", *, stack=True, make=vision_model, **changes):
    """Layers on the host in float64 with weights rounded to `dtype`, and the same on the device."""
    trunk = make(**changes).encoder
    rounded = trunk.map(lambda path, array: array.astype(DTYPES[dtype]).astype(np.float64))
    return rounded.layers, on_device(cupy, trunk, dtype, stack=stack).layers


def error(actual, expected):
    """Relative, by Frobenius norms."""
    return np.linalg.norm(exact(actual) - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("changes", [{}, BIASES], ids=["no biases", "biases"])
@pytest.mark.parametrize("stack", [True, False])
def test_blocks_are_the_textbook(cupy, dtype, changes, stack):
    """As exact as the textbook in the same type; of five calls the second makes a graph and the others use it."""
    host, device = blocks(cupy, dtype, stack=stack, **changes)
    (x,) = normal(0, dtype, (2, 9, 16))
    expected = run_layers.textbook(exact(x), host)
    with textbook():
        as_written = error(run_layers(cupy.asarray(x), device), expected)
    results = []
    for _ in range(5):
        given = cupy.asarray(x)
        results.append(run_layers(given, device))
        assert results[-1].dtype == x.dtype
        np.testing.assert_array_equal(given.get(), x)
    for result in results:
        assert error(result, exact(results[0])) <= eps(dtype)  # a recorded product may be summed in another order
    assert error(results[0], expected) <= 1.2 * as_written + eps(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batches", [1, 3])
def test_masks(cupy, dtype, batches):
    host, device = blocks(cupy, dtype, make=text_model)
    (x,) = normal(0, dtype, (3, 7, 12))
    mask = np.tril(np.ones((batches, 1, 7, 7), bool))
    mask[:, :, :, 2] = False
    mask[:, :, :2, 0] = True
    expected = run_layers.textbook(exact(x), host, Mask(mask))
    for _ in range(3):
        result = run_layers(cupy.asarray(x), device, Mask(cupy.asarray(mask)))
        assert error(result, expected) <= 8 * eps(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pack_is_its_sequences_one_by_one(cupy, dtype):
    host, device = blocks(cupy, dtype, **BIASES)
    lengths = (9, 1, 70, 4)
    (x,) = normal(0, dtype, (1, sum(lengths), 16))
    result, start = run_layers(cupy.asarray(x), device, Packed(lengths)), 0
    for length in lengths:
        n = slice(start, start := start + length)
        assert error(result[:, n], run_layers.textbook(exact(x[:, n]), host)) <= 8 * eps(dtype)


@pytest.mark.parametrize("changes", [{}, BIASES], ids=["no biases", "biases"])
def test_stacked_weights_are_one_product(cupy, changes, monkeypatch):
    calls = []
    rows = encoder.linear_rows
    monkeypatch.setattr(encoder, "linear_rows", lambda *args: calls.append(len(args[1])) or rows(*args))
    monkeypatch.setattr(encoder, "TOKENS", 0)
    x = cupy.asarray(normal(0, "float32", (1, 9, 16))[0])
    results = []
    for stack, expected in ((True, [48, 40] * 2), (False, [16, 16, 16, 20, 20] * 2)):
        _, device = blocks(cupy, stack=stack, **changes)
        calls.clear()
        results.append(run_layers(x, device).get())
        assert calls == expected
    np.testing.assert_allclose(*results, atol=1e-5)


def test_stacks_are_looked_for_once(cupy, monkeypatch):
    """And again in the block one of whose arrays was replaced."""
    looked = []
    stacked = encoder.stacked
    monkeypatch.setattr(encoder, "stacked", lambda arrays: looked.append(len(arrays)) or stacked(arrays))
    monkeypatch.setattr(encoder, "TOKENS", 0)
    host, device = blocks(cupy, **BIASES)
    x = cupy.asarray(normal(0, "float32", (1, 9, 16))[0])
    for _ in range(3):
        run_layers(x, device)
    assert looked == [3, 3, 2, 2] * 2
    looked.clear()
    for name, shape in (("weight", (16, 16)), ("bias", (16,))):
        new = normal(5, "float32", shape, scale=0.2)[0]
        setattr(host[1].attention.k_proj, name, exact(new))
        setattr(device[1].attention.k_proj, name, cupy.asarray(new))
        for _ in range(2):
            assert error(run_layers(x, device), run_layers.textbook(exact(x), host)) < 1e-5
    assert looked == [3, 3, 2, 2] * 2


def test_other_types_and_no_layers_are_the_textbook(cupy):
    layers = vision_model().to(dtype="float64").encoder.map(lambda _, array: cupy.asarray(array)).layers
    x = np.random.default_rng(0).standard_normal((1, 9, 16))
    expected = run_layers.textbook(x, vision_model().to(dtype="float64").encoder.layers)
    np.testing.assert_allclose(run_layers(cupy.asarray(x), layers).get(), expected, atol=1e-12)
    given = cupy.asarray(x)
    np.testing.assert_array_equal(run_layers(given, []).get(), x)
    mixed = [blocks(cupy)[1][0], layers[1]]
    x32 = cupy.asarray(x.astype(np.float32))
    np.testing.assert_allclose(run_layers(x32, mixed).get(), expected, atol=1e-5)


def test_traced_blocks_are_recorded_one_by_one(cupy):
    _, device = blocks(cupy)
    tree = on_device(cupy, vision_model().encoder)
    x = cupy.asarray(normal(0, "float32", (1, 9, 16))[0])
    plain = tree(x)
    with trace(tree, ["layers.0", "layers.1.attention.probs"]) as activations:
        recorded = tree(x)
    assert sorted(activations) == ["layers.0", "layers.1.attention.probs"]
    np.testing.assert_allclose(recorded.get(), plain.get(), atol=1e-5)
    assert len(device) == 2


def test_watched_blocks_call_their_operations(cupy):
    """So that a profile says what took how long."""
    _, device = blocks(cupy)
    x = cupy.asarray(normal(0, "float32", (1, 9, 16))[0])
    plain = [run_layers(x, device).get() for _ in range(3)][-1]
    seen = []

    def watch(operation, body, args, kwargs):
        seen.append(operation.textbook.__name__)
        return body(*args, **kwargs)

    with watching(watch):
        result = run_layers(x, device).get()
    assert seen.count("linear") == 2 * 7
    assert seen.count("attention") == seen.count("gated") == 2
    np.testing.assert_allclose(result, plain, atol=1e-5)


@pytest.fixture
def recordings(monkeypatch):
    """The inputs' shapes of each graph captured."""
    made = []
    capture = graphs.capture

    def noted(function, inputs, pool):
        made.append(inputs[0].shape)
        return capture(function, inputs, pool)

    monkeypatch.setattr(graphs, "capture", noted)
    return made


def test_a_graph_is_made_once_per_kind_of_input(cupy, recordings):
    _, device = blocks(cupy)
    with counted() as found:
        for shape in [(1, 9, 16), (2, 9, 16), (1, 4, 16)]:
            for _ in range(4):
                run_layers(cupy.asarray(normal(0, "float32", shape)[0]), device)
    assert recordings == [(1, 9, 16), (2, 9, 16), (1, 4, 16)]
    assert found == {"recorded": 3, "replayed": 9, "failed": 0}
    with tf32():
        for _ in range(3):
            run_layers(cupy.asarray(normal(0, "float32", (1, 4, 16))[0]), device)
    assert len(recordings) == 4


def test_large_inputs_need_no_graph(cupy, recordings, monkeypatch):
    monkeypatch.setattr(encoder, "TOKENS", 8)
    _, device = blocks(cupy)
    for _ in range(3):
        run_layers(cupy.asarray(normal(0, "float32", (1, 9, 16))[0]), device)
    assert recordings == []


def test_few_graphs_are_kept(cupy, recordings):
    _, device = blocks(cupy)
    for tokens in [*range(1, graphs.KEPT + 2)] * 2:
        run_layers(cupy.asarray(normal(0, "float32", (1, tokens, 16))[0]), device)
    assert len(recordings) == 0  # each had been forgotten when it came again
    assert len(graphs.GRAPHS._entries[device[0]]) == graphs.KEPT


def test_another_weight_is_noticed(cupy):
    host, device = blocks(cupy)
    (x,) = normal(0, "float32", (1, 9, 16))
    for _ in range(3):
        run_layers(cupy.asarray(x), device)
    new = normal(5, "float32", (16, 20), scale=0.2)[0]
    host[1].ffn.down_proj.weight = exact(new)
    device[1].ffn.down_proj.weight = cupy.asarray(new)
    for _ in range(3):
        assert error(run_layers(cupy.asarray(x), device), run_layers.textbook(exact(x), host)) < 1e-5


def test_another_layer_is_noticed(cupy):
    host, device = blocks(cupy)
    (x,) = normal(0, "float32", (1, 9, 16))
    for _ in range(3):
        run_layers(cupy.asarray(x), device)
    for layers in (host, device):
        layers.append(layers[0])
        layers[1] = layers[0]
        del layers[0].attention.__dict__["heads"]
        layers[0].attention.heads = 4
    for _ in range(3):
        assert error(run_layers(cupy.asarray(x), device), run_layers.textbook(exact(x), host)) < 1e-5


def test_a_weight_changed_in_place_is_seen(cupy):
    host, device = blocks(cupy)
    (x,) = normal(0, "float32", (1, 9, 16))
    for _ in range(3):
        run_layers(cupy.asarray(x), device)
    host[0].rms_norm1.weight *= 2
    device[0].rms_norm1.weight *= 2
    assert error(run_layers(cupy.asarray(x), device), run_layers.textbook(exact(x), host)) < 1e-5


def test_graphs_go_with_their_model(cupy):
    before = cupy.get_default_memory_pool().used_bytes()
    count = len(graphs.GRAPHS._entries)
    _, device = blocks(cupy)
    for _ in range(3):
        run_layers(cupy.asarray(normal(0, "float32", (1, 9, 16))[0]), device)
    assert len(graphs.GRAPHS._entries) == count + 1
    del device
    gc.collect()
    assert len(graphs.GRAPHS._entries) <= count
    assert cupy.get_default_memory_pool().used_bytes() <= before


def test_many_threads_may_use_one_graph(cupy):
    host, device = blocks(cupy)
    inputs = [normal(seed, "float32", (1, 9, 16))[0] for seed in range(16)]
    given = [cupy.asarray(x) for x in inputs]
    cupy.cuda.get_current_stream().synchronize()  # weights and inputs are copied there, and read on other streams

    def work(x):
        with cupy.cuda.Stream(non_blocking=True) as stream:
            result = run_layers(x, device)
            stream.synchronize()
            return result

    with counted() as found, ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, given))
    assert found["recorded"] >= 1
    assert found["replayed"] >= 8  # the first of each thread may have come before there was a graph
    assert found["failed"] == 0
    for x, result in zip(inputs, results, strict=True):
        assert error(result, run_layers.textbook(exact(x), host)) < 1e-5


def test_within_the_users_own_recording(cupy):
    """No graph in a graph; what is recorded gives what is computed."""
    _, device = blocks(cupy)
    x = cupy.asarray(normal(0, "float32", (1, 9, 16))[0])
    expected = run_layers(x, device).get()
    pool = cupy.cuda.MemoryPool()  # as whoever records has to: what the graph works in is nobody else's
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        try:
            with cupy.cuda.using_allocator(pool.malloc):
                result = run_layers(x, device)
        finally:
            graph = stream.end_capture()
        graph.launch()
        stream.synchronize()
    np.testing.assert_array_equal(result.get(), expected)
    del result, graph
    pool.free_all_blocks()


def test_an_error_while_recording_leaves_no_half_graph(cupy, monkeypatch):
    _, device = blocks(cupy)
    x = cupy.asarray(normal(0, "float32", (1, 9, 16))[0])
    expected = run_layers(x, device).get()
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "gated_pass", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_layers(x, device)
    for _ in range(2):
        np.testing.assert_array_equal(run_layers(x, device).get(), expected)
