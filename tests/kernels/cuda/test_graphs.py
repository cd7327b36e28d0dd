"""Recording, and what is done and said where nothing can be recorded."""

import gc
import sys
import warnings

import numpy as np
import pytest

from aimv2_np.bench.backends import try_graphs
from aimv2_np.errors import NoGraphWarning
from aimv2_np.kernels.cuda import cublas
from aimv2_np.kernels.cuda.gemm import matmul
from aimv2_np.kernels.cuda.graphs import Graphs, capture, private_pool
from aimv2_np.network.linear import Linear
from tests.kernels.cuda.arrays import DTYPES, assert_within, eps, exact, normal


@pytest.mark.parametrize("dtype", [*DTYPES, "float64"])
@pytest.mark.parametrize("batch", [1, 3])
def test_products_are_recorded(cupy, dtype, batch):
    """Nothing is computed before the launch, and then what is computed without a graph."""
    kind = DTYPES.get(dtype, np.float64)
    a, b = (x.astype(kind) for x in normal(0, "float32", (batch, 5, 7), (batch, 7, 4)))
    given = [cupy.asarray(a), cupy.asarray(b)]

    def multiply(a, b):
        out = cupy.empty((batch, 5, 4), kind)
        matmul(a, b, out)
        return (out,)

    graph = capture(multiply, given, private_pool(cupy))
    for factor in (1, 2):
        (result,) = graph.run((cupy.asarray((factor * a).astype(kind)), given[1]))
        limit = 16 * (2.0**-52 if dtype == "float64" else eps(dtype))
        assert_within(result, factor * (exact(a) @ exact(b)), limit)


def test_the_handle_forgets_the_recording(cupy):
    """Products of CuPy's own come out right after one."""
    linear, x = Linear(cupy.ones((4, 8), np.float32), None), cupy.ones((1, 8), np.float32)
    graphs = Graphs()
    for _ in range(3):
        graphs.run(multiply, linear, (x,))
    np.testing.assert_array_equal((x @ linear.weight.T).get(), 8)


def multiply(linear, x):
    return (linear(x),)


def test_what_is_counted(cupy):
    counts = try_graphs()
    assert counts == {"recorded": 1, "replayed": 2, "failed": 0, "reasons": []}


def waiting(linear, x):
    return (linear(x) * float(x.sum()),)


def keeping(linear, x):
    y = linear(x)
    try:
        return (y * float(x.sum()),)
    except Exception as error:
        kept = error  # which holds the frame, which holds it: only the garbage collector would free y
        raise kept from None


def failing(linear, x):
    raise ZeroDivisionError("of its own")


def test_a_recording_that_fails_is_said_once(cupy):
    """And counted each time; the results are right all the same."""
    graphs, x = Graphs(), cupy.ones((1, 8), np.float32)
    linears = [Linear(cupy.ones((4, 8), np.float32), None) for _ in range(2)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for linear in linears:
            for _ in range(4):
                (result,) = graphs.run(waiting, linear, (x,))
                np.testing.assert_array_equal(result.get(), 64)
    (warning,) = said
    assert warning.category is NoGraphWarning
    assert "no CUDA graph could be recorded" in str(warning.message)
    counts = graphs.counts()
    assert (counts["recorded"], counts["replayed"], counts["failed"]) == (0, 0, 2)
    assert len(counts["reasons"]) == 1
    assert counts["reasons"][0] in str(warning.message)


def test_an_error_of_the_function_itself_is_raised(cupy):
    """It is no reason against a graph of the next call."""
    graphs, linear, x = Graphs(), Linear(cupy.ones((4, 8), np.float32), None), cupy.ones((1, 8), np.float32)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="of its own"):
            graphs.run(failing, linear, (x,))


@pytest.mark.parametrize("how", ["Windows", "another build"])
def test_without_the_library(cupy, monkeypatch, how):
    cublas.library.cache_clear()
    if how == "Windows":
        monkeypatch.setattr(sys, "platform", "win32")
    else:
        monkeypatch.setitem(cublas.FUNCTIONS, "cublasThatThereIsNot", ())
    try:
        counts = try_graphs()
    finally:
        cublas.library.cache_clear()
    assert (counts["recorded"], counts["failed"]) == (0, 1)
    assert ("Windows" if how == "Windows" else "cublasThatThereIsNot") in counts["reasons"][0]


def test_memory_goes_with_the_graph(cupy, request):
    if "gpu" in request.node.name:
        pytest.skip("only the stand-in tells what a pool has lost")
    from tests.support.fake_cupy import memory

    linear, x = Linear(cupy.ones((4, 8), np.float32), None), cupy.ones((1, 8), np.float32)
    for function in (multiply, waiting, keeping):
        graphs = Graphs()
        memory.lost.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoGraphWarning)
            for _ in range(3):
                graphs.run(function, linear, (x,))
        del graphs
        gc.collect()
        assert memory.lost == [0]


def test_a_full_device_does_not_take_memory_from_under_a_recording(cupy, request, monkeypatch):
    if "gpu" in request.node.name:
        pytest.skip("fills the stand-in's device")
    from tests.support.fake_cupy import memory

    monkeypatch.setattr(memory.Memory, "limit", 1 << 10)
    linear, x = Linear(cupy.ones((4, 8), np.float32), None), cupy.ones((1, 8), np.float32)
    graphs = Graphs()
    graphs.run(multiply, linear, (x,))
    with pytest.warns(NoGraphWarning, match="the device has no .* bytes for the graph"):
        (result,) = graphs.run(multiply, linear, (x,))
    np.testing.assert_array_equal(result.get(), 8)
