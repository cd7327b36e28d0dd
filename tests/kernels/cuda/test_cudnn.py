"""cuDNN's attention: when it is used, which graph it is given, and what happens when it cannot.

A stand-in for the package computes what the graph says from the addresses it is given. The package itself, where it is
installed, checks the description of the graph.
"""

import ctypes
import sys
import warnings
from types import ModuleType, SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

import aimv2_np
from aimv2_np import CudnnWarning
from aimv2_np.backends import devices
from aimv2_np.kernels.cuda import cudnn as ours
from aimv2_np.network.attention import attention
from aimv2_np.network.view import EVERYONE, Mask, Packed
from tests.kernels.cuda.arrays import assert_within, eps, exact, heads_inside, normal
from tests.support.cuda_emulator import emulator
from tests.support.gpu import why_no_gpu

HALVES = {"HALF": np.dtype(np.float16), "BFLOAT16": np.dtype(ml_dtypes.bfloat16)}


class Tensor:
    """`cudnn.tensor`."""

    def __init__(self, dim=None, stride=None, data_type=None):
        self.dim, self.stride, self.data_type, self.output = dim, stride, data_type, False

    def set_output(self, value):
        self.output = value
        return self

    def set_dim(self, dim):
        self.dim = dim
        return self

    def set_stride(self, stride):
        self.stride = stride
        return self

    def set_data_type(self, data_type):
        self.data_type = data_type
        return self

    def at(self, address):
        dtype = HALVES[self.data_type]
        extent = sum((n - 1) * stride for n, stride in zip(self.dim, self.stride, strict=True)) + 1
        memory = (ctypes.c_ubyte * (extent * dtype.itemsize)).from_address(address)
        strides = [stride * dtype.itemsize for stride in self.stride]
        return np.ndarray(self.dim, dtype, buffer=memory, strides=strides)


STEPS = ("validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans")


class Graph:
    """`cudnn.pygraph`, which refuses to skip a step."""

    def __init__(self, library, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type == compute_data_type == "FLOAT"
        self.library, self.handle, self.done = library, handle, []
        library.graphs.append(self)

    def tensor(self, name, dim, stride, data_type):
        assert len(dim) == len(stride) == 4
        return Tensor(dim, stride, data_type)

    def sdpa(self, name, q, k, v, generate_stats, attn_scale):
        assert generate_stats is False
        self.inputs, self.scale, self.out = (q, k, v), attn_scale, Tensor()
        return self.out, None

    def __getattr__(self, name):
        if name not in STEPS:
            raise AttributeError(name)

        def step(*_):
            assert tuple(self.done) == STEPS[: STEPS.index(name)]
            if name == self.library.fails_at:
                raise self.library.cudnnGraphNotSupportedError(f"no engine at {name}")
            self.done.append(name)

        return step

    def get_workspace_size(self):
        assert tuple(self.done) == STEPS
        return 1000

    def execute(self, pointers, workspace, handle):
        assert tuple(self.done) == STEPS
        assert handle is self.handle
        assert workspace
        if self.library.fails_at == "execute":
            raise RuntimeError("no engine at execute")
        self.library.streams.append(handle.stream)
        q, k, v = (tensor.at(pointers[tensor]).astype(np.float32) for tensor in self.inputs)
        assert self.out.output
        self.out.at(pointers[self.out])[...] = attention.textbook(q, k, v, self.scale)


@pytest.fixture
def cupy():
    if reason := emulator.missing():
        pytest.skip(reason)
    from tests.support import fake_cupy

    with fake_cupy.installed() as stand_in:
        fake_cupy.launches.clear()
        yield stand_in


@pytest.fixture
def cudnn(monkeypatch):
    """The stand-in for the package, with nothing planned or said before."""
    library = ModuleType("cudnn")
    library.graphs, library.streams, library.handles, library.fails_at = [], [], [], None
    library.data_type = SimpleNamespace(HALF="HALF", BFLOAT16="BFLOAT16", FLOAT="FLOAT")
    library.heur_mode = SimpleNamespace(A="A", FALLBACK="FALLBACK")
    library.cudnnGraphNotSupportedError = type("cudnnGraphNotSupportedError", (Exception,), {})

    def create_handle():
        library.handles.append(SimpleNamespace(stream=None))
        return library.handles[-1]

    library.create_handle = create_handle
    library.set_stream = lambda handle, stream: setattr(handle, "stream", stream)
    library.pygraph = lambda **settings: Graph(library, **settings)
    monkeypatch.setitem(sys.modules, "cudnn", library)
    monkeypatch.setattr(ours, "PLANS", ours.Plans())
    return library


def inputs_of(dtype="float16", queries=5, keys=7, d=16, batch=2):
    return normal(0, dtype, (batch, 3, queries, d), *[(batch, 3, keys, d)] * 2)


def run(cupy, inputs, scale=0.25, mask=None):
    """Checked against the textbook; the names of the kernels of ours that were launched."""
    from tests.support import fake_cupy

    fake_cupy.launches.clear()
    device = [heads_inside(cupy, x) for x in inputs]
    here, there = (EVERYONE, EVERYONE) if mask is None else (Mask(mask), Mask(cupy.asarray(mask)))
    y = attention(*device, scale, there)
    expected = attention.textbook(*map(exact, inputs), scale, here)
    assert_within(y, expected, 2 * eps(inputs[0].dtype.name) * np.abs(exact(inputs[2])).max())
    return [name.partition("<")[0] for name in fake_cupy.launches]


OURS = ["attention_tensor_cores"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_it_computes_where_it_is_asked_for(cupy, cudnn, dtype):
    assert run(cupy, inputs_of(dtype)) == OURS
    with aimv2_np.cudnn_attention():
        assert run(cupy, inputs_of(dtype)) == []
    assert run(cupy, inputs_of(dtype)) == OURS
    (graph,) = cudnn.graphs
    assert graph.scale == 0.25
    assert [tensor.dim for tensor in (*graph.inputs, graph.out)] == [[2, 3, n, 16] for n in (5, 7, 7, 5)]
    assert graph.out.stride == [5 * 3 * 16, 16, 3 * 16, 1]  # merging the heads copies nothing


def test_a_plan_is_made_once(cupy, cudnn):
    with aimv2_np.cudnn_attention():
        for queries in (5, 5, 6, 5):
            assert run(cupy, inputs_of(queries=queries)) == []
        assert len(cudnn.graphs) == 2
        run(cupy, inputs_of(), scale=0.5)
        run(cupy, inputs_of("bfloat16"))
    assert len(cudnn.graphs) == 4
    assert len(cudnn.handles) == 1


def test_few_plans_are_kept(cupy, cudnn, monkeypatch):
    monkeypatch.setattr(ours, "KEPT", 2)
    with aimv2_np.cudnn_attention():
        for queries in (4, 5, 4, 6, 4, 5):  # 5 was used longest ago when 6 came
            run(cupy, inputs_of(queries=queries))
    assert [graph.out.dim[2] for graph in cudnn.graphs] == [4, 5, 6, 5]


def test_it_runs_on_the_current_stream(cupy, cudnn):
    stream = cupy.cuda.Stream(non_blocking=True)
    with aimv2_np.cudnn_attention():
        run(cupy, inputs_of())
        with stream:
            run(cupy, inputs_of())
    assert cudnn.streams == [0, stream.ptr]


def test_what_it_is_not_given(cupy, cudnn):
    from tests.support import fake_cupy

    mask = np.random.default_rng(0).random((2, 1, 5, 7)) < 0.6
    with aimv2_np.cudnn_attention():
        assert run(cupy, inputs_of(), mask=mask) == OURS
        assert run(cupy, inputs_of("float32")) == ["softmax"]
        assert run(cupy, inputs_of(d=12)) == ["softmax"]  # rows that do not begin at multiples of 16 bytes
        assert run(cupy, inputs_of(d=136)) == ["softmax"]
        assert run(cupy, inputs_of(queries=1)) == ["attention_one_query"]
        assert run(cupy, inputs_of(), scale=-0.25) == OURS
        one = cupy.broadcast_to(cupy.asarray(inputs_of(batch=1)[0]), (2, 3, 5, 16))
        fake_cupy.launches.clear()
        attention(one, *(cupy.asarray(it) for it in inputs_of()[1:]), 0.25)
        assert len(fake_cupy.launches) == 1
        attention(*(cupy.asarray(it) for it in inputs_of(queries=7, batch=1)), 0.25, Packed((3, 4)))
        for capability in ("80", "89"):
            fake_cupy.devices.settings["compute_capability"] = capability
            assert run(cupy, inputs_of()) == OURS
    assert cudnn.graphs == []


def test_a_graph_holds_our_kernel(cupy, cudnn):
    """Also when the plan is there already: that recording it is safe has not been seen."""
    from tests.support import fake_cupy

    device = [heads_inside(cupy, x) for x in inputs_of()]
    with aimv2_np.cudnn_attention():
        eager = attention(*device, 0.25)
        with cupy.cuda.Stream(non_blocking=True) as stream:
            fake_cupy.launches.clear()
            stream.begin_capture()
            recorded = attention(*device, 0.25)
            graph = stream.end_capture()
    assert [name.partition("<")[0] for name in fake_cupy.launches] == OURS
    assert len(cudnn.streams) == 1
    graph.launch()
    assert_within(recorded, exact(eager), 4 * eps("float16") * np.abs(inputs_of()[2]).max())


@pytest.mark.parametrize("step", [*STEPS, "execute"])
def test_a_failure_is_said_once_and_ours_computes(cupy, cudnn, step):
    cudnn.fails_at = step
    with aimv2_np.cudnn_attention():
        with pytest.warns(CudnnWarning, match=rf"our own kernel does; it says: no engine at {step}"):
            assert run(cupy, inputs_of()) == OURS
        with warnings.catch_warnings(action="error"):
            assert run(cupy, inputs_of()) == OURS
            assert len(cudnn.graphs) == 1  # nor is it tried again for the same shape
            assert run(cupy, inputs_of(queries=6)) == OURS  # for another it is, with the same reason
        assert len(cudnn.graphs) == 2


def test_it_is_not_installed(cupy, cudnn, monkeypatch):
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with aimv2_np.cudnn_attention():
        with pytest.warns(CudnnWarning, match=r"pip install 'aimv2-np\[cudnn12\]'"):
            assert run(cupy, inputs_of()) == OURS
        with warnings.catch_warnings(action="error"):
            assert run(cupy, inputs_of()) == OURS


def test_a_full_device_is_not_its_fault(cupy, cudnn):
    """The error goes to whoever frees memory; the plan stays."""
    from tests.support import fake_cupy

    device = [heads_inside(cupy, x) for x in inputs_of()]
    with aimv2_np.cudnn_attention():
        run(cupy, inputs_of())
        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
        pool.set_limit(pool.used_bytes() + 600)
        try:
            with pytest.raises(fake_cupy.memory.OutOfMemoryError):
                attention(*device, 0.25)
        finally:
            pool.set_limit(0)
        assert run(cupy, inputs_of()) == []
    assert len(cudnn.graphs) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_on_a_device(request, monkeypatch, dtype):
    """Where the package is installed, too: a warning, which our kernel's taking over is, would be an error."""
    if reason := why_no_gpu():
        (pytest.fail if request.config.getoption("--require-gpu") else pytest.skip)(reason)
    pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    cupy = devices.find_cupy()
    if int(cupy.cuda.Device().compute_capability) < ours.SINCE:
        pytest.skip(f"cuDNN is used from sm_{ours.SINCE} on")
    monkeypatch.setattr(ours, "PLANS", ours.Plans())
    with aimv2_np.cudnn_attention():
        for queries, keys in ((256, 256), (100, 77)):
            inputs = inputs_of(dtype, queries, keys, d=128)
            y = attention(*(heads_inside(cupy, x) for x in inputs), 128**-0.5)
            expected = attention.textbook(*map(exact, inputs), 128**-0.5)
            assert_within(y, expected, 2 * eps(dtype) * np.abs(exact(inputs[2])).max())
    assert len(ours.PLANS._plans) == 2


def test_the_package_takes_the_description():
    """By its own checks, which some versions make without a device, and others (1.14) do not."""
    library = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    q, k = (np.zeros((2, n, 8, 128), np.float16).swapaxes(1, 2) for n in (256, 100))
    try:
        graph, tensors = ours.describe(library, (q, k, k, q), 0.088)
    except RuntimeError as error:
        pytest.skip(f"cudnn {library.__version__} needs a device: {error}")
    assert len(set(tensors)) == 4
    assert '"attn_scale": 0.088' in str(graph)
    for step in (*STEPS, "get_workspace_size", "execute"):
        assert callable(getattr(graph, step))
