"""The stand-in is as strict as CuPy where that matters."""

import sys

import ml_dtypes
import numpy as np
import pytest

from aimv2_np.backends.arrays import is_array, namespace
from tests.support import fake_cupy
from tests.support.fake_cupy import devices
from tests.support.fake_cupy.array import METHODS, PROPERTIES

PRIVATE = {"count", "key", "of"}  # the stand-in's own


@pytest.fixture
def cupy():
    with fake_cupy.installed() as module:
        yield module


def test_it_is_there_for_a_while():
    before = sys.modules.get("cupy")
    with fake_cupy.installed() as cupy:
        import cupy as imported

        assert imported is cupy is namespace(cupy.zeros(3))
        assert is_array(cupy.zeros(3))
    assert sys.modules.get("cupy") is before


@pytest.mark.parametrize("mix", [
    lambda a, b: a + b, lambda a, b: b * a, lambda a, b: a @ b, lambda a, b: np.concatenate([a, b]),
    lambda a, b: np.add(b, a), lambda a, b: a.__setitem__(0, b[0]), lambda a, b: a[np.array([0, 1])],
])  # fmt: skip
def test_it_does_not_mix_with_numpy(cupy, mix):
    a, b = cupy.ones((2, 2)), np.ones((2, 2))
    with pytest.raises(TypeError):
        mix(a, b)


def test_it_does_not_become_numpy_unasked(cupy):
    for convert in (np.asarray, np.array, lambda a: np.float64(a)):
        with pytest.raises(TypeError, match="Implicit conversion"):
            convert(cupy.ones((2, 2)))
    assert type(cupy.ones(2).get()) is np.ndarray


def test_numbers_and_scalars_do_mix(cupy):
    a = np.float32(2) * cupy.ones(2, np.float32) + 1
    np.testing.assert_array_equal(a.get(), [3, 3])
    assert a.dtype == np.float32
    assert type(a.sum()) is cupy.ndarray
    assert type(np.sqrt(a)) is cupy.ndarray


def test_stacks_of_bfloat16_matrices_are_refused(cupy):
    a = cupy.asarray(np.ones((2, 2, 2), ml_dtypes.bfloat16))
    with pytest.raises(TypeError, match="bfloat16"):
        a @ a
    assert (a[0] @ a[0]).dtype == a.dtype


def test_memory_is_counted_and_limited(cupy):
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    a = cupy.zeros(1000, np.float32)
    view = a[10:]
    del a
    assert pool.used_bytes() == before + 4096
    pool.set_limit(size=before + 5000)
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="allocating 4,096 bytes"):
        cupy.zeros(1000, np.float32)
    del view
    assert pool.used_bytes() == before
    cupy.zeros(1000, np.float32)


def test_memory_that_nobody_wrote_is_nan(cupy):
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        assert np.isnan(cupy.empty(3, dtype).get().astype(float)).all()


def test_a_captured_stream_computes_when_the_graph_is_launched(cupy):
    a, b = cupy.ones(3), cupy.zeros(3)
    with cupy.cuda.Stream() as stream:
        stream.begin_capture()
        b += a * 2
        for wait in (lambda: bool(a[0]), a.get, lambda: cupy.asarray(np.ones(2)), stream.synchronize, a.sum().item):
            with pytest.raises(RuntimeError, match="capturing"):
                wait()
        graph = stream.end_capture()
    np.testing.assert_array_equal(b.get(), 0)
    graph.launch()
    a *= 10
    graph.launch()
    np.testing.assert_array_equal(b.get(), 22)


def test_nothing_is_copied_from_the_host_while_capturing(cupy):
    many = [cupy.ones(3)] * 9
    with cupy.cuda.Stream() as stream:
        stream.begin_capture()
        for copy in (lambda: many[0].set(np.ones(3)), lambda: cupy.asarray([1.0]), lambda: cupy.concatenate(many)):
            with pytest.raises(RuntimeError, match="H2D transfers are disallowed"):
                copy()
        cupy.concatenate(many[:8])
        cupy.asarray(1.0)  # goes along with the kernel that fills the array
        stream.end_capture()


def test_what_makes_the_host_wait(cupy):
    a = cupy.asarray(np.ones(3))
    devices.waits.clear()
    a + 1, a.all(), cupy.where(a > 0, a, 0), a[cupy.arange(2)]
    a[a > 0] = 2
    assert devices.waits == []
    for wait in (lambda: a[a > 0], a.nonzero, lambda: cupy.flatnonzero(a), lambda: bool(a.all()), a.get):
        devices.waits.clear()
        wait()
        assert len(devices.waits) == 1


def test_an_index_beyond_the_end_counts_on_from_the_beginning(cupy):
    a = cupy.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(a[cupy.asarray([4, -4])].get(), [[2, 3], [4, 5]])
    with pytest.raises(IndexError):
        a[3]


def test_the_default_stream_cannot_be_captured(cupy):
    with pytest.raises(RuntimeError, match="default"):
        cupy.cuda.Stream.null.begin_capture()


def test_devices():
    with fake_cupy.installed(devices_present=2) as cupy:
        a = cupy.ones(3)
        with cupy.cuda.Device(1):
            b = cupy.ones(3)
            with pytest.raises(ValueError, match="Array device must be same"):
                a + 1
        assert (a.device.id, b.device.id) == (0, 1)
        with pytest.raises(devices.CUDARuntimeError, match="InvalidDevice"):
            cupy.cuda.Device(2).use()
    with fake_cupy.installed(devices_present=0) as cupy, pytest.raises(devices.CUDARuntimeError, match="NoDevice"):
        cupy.cuda.runtime.getDeviceCount()


def test_it_offers_nothing_that_cupy_lacks():
    """Names of modules, of the array, and of what belongs to a device; cuBLAS's need the library itself."""
    real = pytest.importorskip("cupy", reason="CuPy is not installed")
    if real.__version__.partition(".")[0] != "14":
        pytest.skip("written after CuPy 14")
    modules = fake_cupy.make()
    pairs = [(module, name) for name, module in modules.items() if name.split(".")[0] == "cupy"]
    for module, path in pairs:
        there = real
        for part in path.split(".")[1:]:
            there = getattr(there, part)
        assert [name for name in vars(module) if not name.startswith("__") and not hasattr(there, name)] == []
    for ours, theirs in [
        (fake_cupy.ndarray, real.ndarray), (devices.Stream, real.cuda.Stream), (devices.Event, real.cuda.Event),
        (devices.Graph, real.cuda.Graph), (devices.Device, real.cuda.Device), (fake_cupy.RawModule, real.RawModule),
        (fake_cupy.memory.MemoryPool, real.cuda.MemoryPool),
    ]:  # fmt: skip
        own = {name for name in vars(ours) if not name.startswith("_")} - PRIVATE
        assert {name for name in own if not hasattr(theirs, name)} == set(), theirs
    for name in METHODS | PROPERTIES:
        assert hasattr(real.ndarray, name)
