"""The stand-in notices when one stream uses what another has not finished, as a GPU may or may not show."""

import numpy as np
import pytest

from tests.support import fake_cupy
from tests.support.fake_cupy.order import RaceError


@pytest.fixture
def cupy():
    with fake_cupy.installed() as module:
        yield module


def non_blocking(cupy):
    return cupy.cuda.Stream(non_blocking=True)


@pytest.mark.parametrize("write", [
    lambda cupy: cupy.asarray(np.ones(3)), lambda cupy: cupy.zeros(3), lambda cupy: cupy.arange(3),
    lambda cupy: cupy.ones(3) + 1,
])  # fmt: skip
def test_what_nobody_has_waited_for(cupy, write):
    array = write(cupy)
    with non_blocking(cupy), pytest.raises(RaceError, match="reads what was written on stream 0x0"):
        array + 1
    with non_blocking(cupy), pytest.raises(RaceError):
        array.get()
    with non_blocking(cupy), pytest.raises(RaceError, match="overwrites what was written"):
        array[...] = 0


def test_what_others_still_read(cupy):
    array = cupy.ones(3)
    cupy.cuda.get_current_stream().synchronize()
    with non_blocking(cupy) as first:
        array + 1
    with non_blocking(cupy) as second:
        array + 2  # may be read by both
        with pytest.raises(RaceError, match="overwrites what was read"):
            array[...] = 0
        second.wait_event(first.record())
        array[...] = 0


@pytest.mark.parametrize("wait", [
    lambda cupy, event: cupy.cuda.Stream.null.synchronize(),
    lambda cupy, event: cupy.cuda.Device().synchronize(),
    lambda cupy, event: cupy.cuda.runtime.deviceSynchronize(),
    lambda cupy, event: event.synchronize(),
    lambda cupy, event: cupy.cuda.get_current_stream().wait_event(event),
], ids=["stream", "device", "runtime", "event", "the other stream"])  # fmt: skip
def test_what_orders_streams(cupy, wait):
    array = cupy.asarray(np.ones(3))
    event = cupy.cuda.Event()
    event.record()
    with non_blocking(cupy):
        wait(cupy, event)
        np.testing.assert_array_equal((array + 1).get(), 2)


def test_an_event_stands_for_what_came_before_it(cupy):
    event = cupy.cuda.Event()
    event.record()
    array = cupy.asarray(np.ones(3))
    with non_blocking(cupy) as stream:
        stream.wait_event(event)
        with pytest.raises(RaceError):
            array + 1


def test_waiting_is_handed_on(cupy):
    array = cupy.asarray(np.ones(3))
    first, second = non_blocking(cupy), non_blocking(cupy)
    first.wait_event(cupy.cuda.Stream.null.record())
    second.wait_event(first.record())
    with second:
        array + 1


def test_other_streams_wait_for_the_legacy_stream(cupy):
    array = cupy.asarray(np.ones(3))
    with cupy.cuda.Stream():
        other = array + 1
    np.testing.assert_array_equal((other + 1).get(), 3)


def test_a_graph_reads_when_it_is_launched(cupy):
    a, b = cupy.asarray(np.ones(3)), cupy.zeros(3)
    with non_blocking(cupy) as stream:
        stream.begin_capture()
        b[...] = a
        graph = stream.end_capture()
        with pytest.raises(RaceError):
            graph.launch()
    graph.launch()
    with non_blocking(cupy) as other, pytest.raises(RaceError):
        b.get()
    other.wait_event(cupy.cuda.Stream.null.record())
    with other:
        np.testing.assert_array_equal(b.get(), 1)
