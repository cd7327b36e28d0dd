"""A model on a GPU, by the device's own clock: how fast, what share of its matrix products' rate, how much memory."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import cycle
from math import ceil, prod
from time import perf_counter
from typing import Any

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.arrays import dtype_of
from aimv2_np.bench.ceilings import Shape
from aimv2_np.bench.subject import Subject
from aimv2_np.shapes import NDArray

WARM_UP = 3  # passes: kernels are compiled in the first, graphs recorded in the second
COPY_BYTES = 1 << 30  # beyond every cache
CACHE_BYTES = 256 << 20  # more than any device's cache holds
SETS = 64  # at most, of one product's factors: where they are smaller still, launching is what takes the time
MIN_SECONDS = 5e-3  # between two events, whose own precision is about a microsecond
BUSY_BYTES = 64 << 20  # copying them takes the device longer than queueing the copy takes the host
STRETCH = (1 << 20) - 3  # random numbers before they come again; odd, so that rows of a matrix differ


def measure(
    folder: str,
    given: dict[str, Any],
    batch: int,
    seconds: float,
    *,
    dtype: str,
    device: int | None,
    **which: Any,
) -> dict[str, Any]:
    """Speed and memory of a model on one input that lies on the device, and the rates that the device reaches."""
    from aimv2_np.kernels.cuda.graphs import GRAPHS

    cupy = devices.find_cupy(dtype)
    with devices.on_device(devices.current() if device is None else device):
        before = _taken(cupy)
        subject = Subject(folder, given, batch, dtype=dtype, device=device, **which)
        loaded = _taken(cupy)
        for _ in range(WARM_UP):
            subject.run()
        peak = _taken(cupy)
        found, _, _ = subject.speed(
            stopwatch(cupy, subject.run), lambda shape: product(cupy, shape, dtype), seconds, "gemm", "tflops"
        )
        return found | {
            "graphs": GRAPHS.counts(), "copy_gb_per_second": copy_bandwidth(cupy) / 1e9,
            "loading_seconds": subject.loading, "memory": {"weights": loaded - before, "peak": peak - before},
        }  # fmt: skip


def stopwatch(cupy: Any, function: Callable[[], object]) -> Callable[[], float]:
    """A function that runs `function` once and returns its seconds, from one event on the stream to another."""
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()

    def run() -> float:
        stream = cupy.cuda.get_current_stream()
        start.record(stream)
        function()
        stop.record(stream)
        stop.synchronize()
        return max(1e-9, float(cupy.cuda.get_elapsed_time(start, stop)) / 1e3)

    return run


def product(cupy: Any, shape: Shape, dtype: str) -> Callable[[], float]:
    """A function that returns the seconds of one product of that shape by cuBLAS, called as the model calls it.

    Factors and results come from memory, not from the cache: there are several of each where one is small.
    """
    from aimv2_np.kernels.cuda.gemm import multiply_transposed

    kind = dtype_of(dtype)
    sizes = (shape.m, shape.k), (shape.n, shape.k), (shape.m, shape.n)
    sets = min(SETS, 1 + CACHE_BYTES // (kind.itemsize * sum(rows * columns for rows, columns in sizes)))
    calls = []
    for i in range(sets):
        x, weight = (random_array(cupy, size, kind, seed) for seed, size in enumerate(sizes[:2], start=2 * i))
        calls.append(partial(multiply_transposed, x, weight, cupy.empty(sizes[2], dtype=kind)))
    return steady(cupy, calls)


def copy_bandwidth(cupy: Any, size: int = COPY_BYTES) -> float:
    """Bytes per second that copying moves within the device, read and written ones together."""
    source, target = random_array(cupy, (size,), np.dtype(np.uint8)), cupy.empty(size, dtype="uint8")

    def copy() -> None:
        target[...] = source

    clock = steady(cupy, [copy])
    return 2 * size / min(clock() for _ in range(5))


def random_array(cupy: Any, shape: tuple[int, ...], dtype: np.dtype[Any], seed: int = 0) -> Any:
    """Normal numbers, or any bytes: a stretch of them again and again, since CuPy's generator needs cuRAND.

    Zeros and ones would be multiplied faster, as they take less power.
    """
    host = _stretch(dtype == np.uint8)
    stretch = cupy.asarray(np.roll(host, 997 * seed)).astype(dtype)  # another stretch takes the host ten times as long
    array = cupy.empty(prod(shape), dtype=dtype)
    for start in range(0, len(array), STRETCH):
        piece = array[start : start + STRETCH]
        piece[...] = stretch[: len(piece)]
    return array.reshape(shape)


@cache
def _stretch(of_bytes: bool) -> NDArray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, STRETCH, np.uint8) if of_bytes else rng.standard_normal(STRETCH, dtype=np.float32)


def steady(cupy: Any, calls: Sequence[Callable[[], object]]) -> Callable[[], float]:
    """A function that returns the seconds that one of `calls` takes the device, without what the host adds.

    The calls are made in turn, so many of them that `MIN_SECONDS` pass between two events. All are queued while the
    device is still busy with copies, which take longer than queueing does.
    """
    busy = [cupy.empty(BUSY_BYTES, dtype="uint8") for _ in range(2)]
    turn = cycle(calls)

    def keep_busy() -> None:
        busy[0][...] = busy[1]

    def queue(times: int) -> None:
        for _ in range(times):
            next(turn)()

    def timed(times: int, ahead: int) -> float:
        for _ in range(ahead):
            keep_busy()
        return stopwatch(cupy, partial(queue, times))()

    queue(len(calls))  # what happens only once
    copying = min(stopwatch(cupy, keep_busy)() for _ in range(3))
    times, seconds = 1, 0.0
    while seconds < MIN_SECONDS:
        times = ceil(times * min(10, 1.2 * MIN_SECONDS / seconds)) if seconds else times
        began = perf_counter()
        queue(times)
        ahead = ceil(1.5 * (perf_counter() - began) / copying)
        seconds = timed(times, ahead)
    return lambda: timed(times, ahead) / times


def _taken(cupy: Any) -> int:
    """Bytes of the device that are not free. Pools give nothing back by themselves, so this is a peak."""
    cupy.cuda.get_current_stream().synchronize()
    free, total = cupy.cuda.runtime.memGetInfo()
    return int(total - free)
