"""Devices, streams, events and graphs: everything happens at once, except while a stream is captured.

`order` knows which of it a device would do at the same time.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from threading import local
from time import perf_counter
from typing import Any

from tests.support.fake_cupy import order


class CUDARuntimeError(RuntimeError):
    """As CuPy's, by the name of the error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.status = 100


state = local()
settings = {"devices": 1, "compute_capability": "90"}
limits = {"multiProcessorCount": 132, "sharedMemPerMultiprocessor": 228 << 10}  # of an H100
waits: list[str] = []  # why the host has waited for the device, each time


def current() -> int:
    return getattr(state, "device", 0)


def get_device_count() -> int:
    if not settings["devices"]:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return settings["devices"]


def stream() -> "Stream":
    return [Stream.null, *getattr(state, "streams", [])][-1]


_current_stream = stream  # where an argument has that name


def capturing() -> bool:
    return stream().captured is not None


def record(work: Callable[[], object], reads: Iterable[Any] = (), writes: Iterable[Any] = ()) -> None:
    stream().captured.append((work, list(reads), list(writes)))


def execute(work: Callable[[], object], reads: Iterable[Any] = (), writes: Iterable[Any] = ()) -> None:
    """Now, or when the graph that is being captured is launched. `reads` and `writes` are blocks of memory."""
    if capturing():
        record(work, reads, writes)
    else:
        order.work(stream().key, reads, writes)
        work()


def wait_for_device(reason: str, reads: Iterable[Any] = (), seen: order.Clock | None = None) -> None:
    """The host waits: for the current stream, which may first copy something to the host, or for what was `seen`."""
    if capturing():
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
    waits.append(reason)
    order.work(stream().key, reads)
    order.host_waits(order.seen_by(stream().key) if seen is None else seen)


def wait_for_all(reason: str) -> None:
    """The host waits for all streams of the current device."""
    wait_for_device(reason)
    order.host_waits_for_all(current())


def check_upload() -> None:
    if capturing():
        raise RuntimeError("the current stream is capturing, so H2D transfers are disallowed")


def upload(block: Any) -> None:
    """A copy from the host to a block begins; nobody waits for it."""
    check_upload()
    order.work(stream().key, writes=[block])


def call_cublas() -> None:
    """What CuPy's wrappers do first of all: they set the stream, and refuse one that is being captured."""
    if capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


def check_same_device(args: Any) -> None:
    for arg in args:
        if hasattr(arg, "_array") and arg.device.id != current():
            raise ValueError(
                f"Array device must be same as the current device: array device = {arg.device.id} while "
                f"current = {current()}"
            )


class Device:
    """`cupy.cuda.Device`."""

    def __init__(self, device: Any = None) -> None:
        self.id = current() if device is None else int(device.id if isinstance(device, Device) else device)

    @property
    def compute_capability(self) -> str:
        return settings["compute_capability"]

    @property
    def mem_info(self) -> tuple[int, int]:
        from tests.support.fake_cupy.memory import default_pool

        total = default_pool.limit or 80 << 30
        return total - default_pool.used, total

    @property
    def attributes(self) -> dict[str, int]:
        return {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 227 << 10}

    def use(self) -> None:
        if not 0 <= self.id < get_device_count():
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        state.device = self.id

    def synchronize(self) -> None:
        wait_for_all("Device.synchronize")

    def __enter__(self) -> "Device":
        before = [*getattr(state, "before", []), current()]
        self.use()
        state.before = before
        return self

    def __exit__(self, *_: object) -> None:
        state.device = state.before.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __int__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Graph:
    """`cupy.cuda.Graph`."""

    def __init__(self, work: list[tuple[Callable[[], object], list[Any], list[Any]]]) -> None:
        self.work = work
        self.launches = 0

    def launch(self, stream: Any = None) -> None:
        self.launches += 1
        with stream or nullcontext():
            for step in self.work:
                execute(*step)

    def upload(self, stream: Any = None) -> None:
        pass


class Stream:
    """`cupy.cuda.Stream`."""

    null: "Stream"
    count = 0

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        Stream.count += not null
        self.ptr = 0 if null else 0x1000 + Stream.count
        self.device_id = -1 if null else current()
        self.captured: list[Any] | None = None
        if not null and not non_blocking:
            order.add_blocking(self.key)

    @property
    def key(self) -> order.Key:
        return (current() if self.device_id < 0 else self.device_id), self.ptr

    def __enter__(self) -> "Stream":
        state.streams = [*getattr(state, "streams", []), self]
        return self

    def __exit__(self, *_: object) -> None:
        state.streams.pop()

    def use(self) -> "Stream":
        state.streams = [self]
        return self

    def begin_capture(self, mode: Any = None) -> None:
        if not self.ptr:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self.captured = []

    def end_capture(self) -> Graph:
        work, self.captured = self.captured, None
        if work is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the operation cannot be performed in the present state")
        return Graph(work)

    def is_capturing(self) -> bool:
        return self.captured is not None

    def synchronize(self) -> None:
        wait_for_device("Stream.synchronize", seen=order.seen_by(self.key))

    def record(self, event: Any = None) -> "Event":
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        order.wait(self.key, event.seen)


Stream.null = Stream(null=True)


class Event:
    """`cupy.cuda.Event`."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.time = 0.0
        self.seen: order.Clock = {}

    def record(self, stream: Any = None) -> None:
        self.time, self.seen = perf_counter(), order.seen_by((stream or _current_stream()).key)

    def synchronize(self) -> None:
        wait_for_device("Event.synchronize", seen=self.seen)

    @property
    def done(self) -> bool:
        return True


def get_elapsed_time(start: Event, stop: Event) -> float:
    return 1000 * (stop.time - start.time)
