"""A model on a GPU, by the device's own clock: how fast, how much of what its matrix products allow, how much memory.

`python -m aimv2_np.bench.gpu` is the process in which one case is measured; `benchmark_gpu` starts such processes.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from itertools import cycle
from math import ceil, prod
from time import perf_counter
from typing import Any

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.arrays import dtype_of, is_float, move
from aimv2_np.bench import cores
from aimv2_np.bench.backends import describe_backends
from aimv2_np.bench.ceilings import Shape, combined_rate, shapes
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.machine import PACKAGES, describe_machine, describe_versions
from aimv2_np.bench.models import Specimen, draw_picture, specimen, vision_of, warm_up
from aimv2_np.bench.run import Plan, inputs_of, label, summarise_cold, time_cold
from aimv2_np.bench.talk import Worker, module_command, serve
from aimv2_np.bench.timing import in_turns
from aimv2_np.bench.worker import Subject

SCHEMA = 1
WORKER, COLD = "aimv2_np.bench.gpu", "aimv2_np.bench.gpu_cold"
LIBRARIES = (*PACKAGES, "cupy-cuda12x", "cupy-cuda13x", "ml_dtypes")
WARM_UP = 3  # passes: kernels are compiled in the first, graphs recorded in the second
COPY_BYTES = 1 << 30  # beyond every cache
CACHE_BYTES = 256 << 20  # more than any device's cache holds
SETS = 64  # at most, of one product's factors: where they are smaller still, launching is what takes the time
MIN_SECONDS = 5e-3  # between two events, whose own precision is about a microsecond
BUSY_BYTES = 64 << 20  # copying them takes the device longer than queueing the copy takes the host
STRETCH = (1 << 20) - 3  # random numbers before they come again; odd, so that rows of a matrix differ


def benchmark_gpu(plan: Plan, where: dict[str, Any], tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure what `plan` says (threads, profile and processes mean nothing here), as it goes into JSON.

    Args:
        plan: what to measure.
        where: "dtype" and "device" of `from_pretrained`.
        tell: is told what is being done.

    Raises what `benchmark` raises, and ImportError or RuntimeError where there is no GPU.
    """
    plan.check()
    devices.find_cupy(where["dtype"])
    devices.check_device(where["device"])
    found = describe_backends()["cupy"]
    result: dict[str, Any] = {
        "schema": SCHEMA, "date": time.strftime("%Y-%m-%d"), "machine": describe_machine(),
        "device": found["devices"][where["device"] or 0], "driver": found["driver"], "runtime": found["runtime"],
        "versions": describe_versions(LIBRARIES), "dtype": where["dtype"], "models": [],
    }  # fmt: skip
    for name in plan.models:
        tell(f"preparing {name}")
        with specimen(name, plan.layers, **plan.which) as it:
            result["models"].append(_measure_model(it, plan, where, tell))
    return result


def _measure_model(it: Specimen, plan: Plan, where: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    warm_up(it)
    cases = []
    for given in inputs_of(it.name, it.config, plan):
        for batch in plan.batches:
            tell(f"{it.name}: {label(given)}, batch {batch}, {where['dtype']}")
            arguments = {"folder": str(it.folder), "given": given, "batch": batch, "seconds": plan.seconds, **where}
            arguments["which"] = it.which
            with Worker(module_command(WORKER), {}) as worker:
                cases.append({"input": given, "batch": batch, **worker.ask("measure", **arguments)})
    return {
        "name": it.name, "random": it.random, "layers": plan.layers, "parameters": it.parameters, "cases": cases,
        "cold": _cold(it, plan, where, tell),
    }  # fmt: skip


def _cold(it: Specimen, plan: Plan, where: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any] | None:
    if plan.cold < 1 or (vision := vision_of(it.config)) is None:
        return None
    tell(f"{it.name}: from a cold process to the first feature")
    picture = it.folder / "bench-picture.png" if it.random else None
    if picture is not None:
        draw_picture(picture, vision)
    arguments = [str(it.folder), where["dtype"], str(where["device"] or 0), str(picture or ""), json.dumps(it.which)]
    command = module_command(COLD, *arguments)
    return summarise_cold([time_cold(command, cores.available()) for _ in range(plan.cold)])


def measure(
    folder: str,
    given: dict[str, Any],
    batch: int,
    seconds: float,
    dtype: str,
    device: int | None,
    which: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Speed and memory of a model on one input that lies on the device, and the rates that the device reaches."""
    from aimv2_np.kernels.cuda.graphs import GRAPHS

    cupy = devices.find_cupy(dtype)
    with devices.on_device(devices.current() if device is None else device):
        before = _taken(cupy)
        subject = GpuSubject(folder, given, batch, dtype, device, **which or {})
        loaded = _taken(cupy)
        for _ in range(WARM_UP):
            subject.run()
        peak = _taken(cupy)
        multiplied = products(subject.model.config, given, batch)
        by_shape = shapes(multiplied)
        clocks = {"model": stopwatch(cupy, subject.run)}
        clocks |= {str(shape): product(cupy, shape, dtype) for shape in by_shape}
        times = in_turns(clocks, seconds)
        rate = combined_rate(by_shape, {shape: shape.flops / times[str(shape)].median for shape in by_shape})
        bandwidth = copy_bandwidth(cupy)
    median, done = times["model"].median, total_flops(multiplied)
    return {
        "seconds": times["model"].to_dict(), "per_second": batch / median, "flops": done,
        "tflops": done / median / 1e12, "gemm_tflops": rate / 1e12, "gemm_fraction": done / median / rate,
        "gemm_shapes": [{**asdict(it), "tflops": it.flops / times[str(it)].median / 1e12} for it in by_shape],
        "graphs": GRAPHS.counts(), "copy_gb_per_second": bandwidth / 1e9, "loading_seconds": subject.loading,
        "memory": {"weights": loaded - before, "peak": peak - before},
    }  # fmt: skip


class GpuSubject(Subject):
    """A model and an input, both on the device."""

    def __init__(
        self, folder: str, given: dict[str, Any], batch: int, dtype: str, device: int | None, **which: Any
    ) -> None:
        super().__init__(folder, given, batch, backend="cupy", dtype=dtype, device=device, **which)
        inputs = move(self._inputs, "cupy", device)
        self._inputs = inputs.astype(dtype_of(dtype)) if is_float(inputs) else inputs


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
    from aimv2_np.kernels.cuda.gemm import multiply

    kind = dtype_of(dtype)
    sizes = (shape.m, shape.k), (shape.n, shape.k), (shape.m, shape.n)
    sets = min(SETS, 1 + CACHE_BYTES // (kind.itemsize * sum(rows * columns for rows, columns in sizes)))
    calls = []
    for i in range(sets):
        x, weight = (random_array(cupy, size, kind, seed) for seed, size in enumerate(sizes[:2], start=2 * i))
        calls.append(partial(multiply, x, weight, cupy.empty(sizes[2], dtype=kind)))
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
    host = _random_bytes() if dtype == np.uint8 else _random_numbers()
    stretch = cupy.asarray(np.roll(host, 997 * seed)).astype(dtype)  # another stretch takes the host ten times as long
    array = cupy.empty(prod(shape), dtype=dtype)
    for start in range(0, len(array), STRETCH):
        piece = array[start : start + STRETCH]
        piece[...] = stretch[: len(piece)]
    return array.reshape(shape)


@cache
def _random_bytes() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, STRETCH, np.uint8)


@cache
def _random_numbers() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal(STRETCH, dtype=np.float32)


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


if __name__ == "__main__":
    serve({"measure": measure})
