"""A model on a GPU, by the device's own clock: how fast, how much of what its matrix products allow, how much memory.

`python -m aimv2_np.bench.gpu` is the process in which one case is measured; `benchmark_gpu` starts such processes.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

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
        with specimen(name, plan.layers) as it:
            result["models"].append(_measure_model(it, plan, where, tell))
    return result


def _measure_model(it: Specimen, plan: Plan, where: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    warm_up(it)
    cases = []
    for given in inputs_of(it.name, it.config, plan):
        for batch in plan.batches:
            tell(f"{it.name}: {label(given)}, batch {batch}, {where['dtype']}")
            arguments = {"folder": str(it.folder), "given": given, "batch": batch, "seconds": plan.seconds, **where}
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
    arguments = [str(it.folder), where["dtype"], str(where["device"] or 0), str(picture or "")]
    command = module_command(COLD, *arguments)
    return summarise_cold([time_cold(command, cores.available()) for _ in range(plan.cold)])


def measure(
    folder: str, given: dict[str, Any], batch: int, seconds: float, dtype: str, device: int | None
) -> dict[str, Any]:
    """Speed and memory of a model on one input that lies on the device, and the rates that the device reaches."""
    from aimv2_np.kernels.cuda.graphs import GRAPHS

    cupy = devices.find_cupy(dtype)
    with devices.on_device(devices.current() if device is None else device):
        before = _taken(cupy)
        subject = GpuSubject(folder, given, batch, dtype, device)
        loaded = _taken(cupy)
        for _ in range(WARM_UP):
            subject.run()
        peak = _taken(cupy)
        multiplied = products(subject.model.config, given, batch)
        by_shape = shapes(multiplied)
        contestants = {"model": subject.run} | {str(shape): product(cupy, shape, dtype) for shape in by_shape}
        clocks = {name: stopwatch(cupy, function) for name, function in contestants.items()}
        for clock in clocks.values():
            clock()
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

    def __init__(self, folder: str, given: dict[str, Any], batch: int, dtype: str, device: int | None) -> None:
        super().__init__(folder, given, batch, backend="cupy", dtype=dtype, device=device)
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


def product(cupy: Any, shape: Shape, dtype: str) -> Callable[[], object]:
    """A product of that shape by cuBLAS, as the model calls it."""
    from aimv2_np.kernels.cuda.gemm import multiply

    kind = dtype_of(dtype)
    x, weight = (cupy.ones(size, dtype=kind) for size in ((shape.m, shape.k), (shape.n, shape.k)))
    out = cupy.empty((shape.m, shape.n), dtype=kind)
    return lambda: multiply(x, weight, out)


def copy_bandwidth(cupy: Any, size: int = COPY_BYTES) -> float:
    """Bytes per second that copying moves within the device, read and written ones together."""
    source, target = (cupy.zeros(size, dtype="uint8") for _ in range(2))

    def copy() -> None:
        target[...] = source

    clock = stopwatch(cupy, copy)
    return 2 * size / min(clock() for _ in range(5))


def _taken(cupy: Any) -> int:
    """Bytes of the device that are not free. Pools give nothing back by themselves, so this is a peak."""
    cupy.cuda.get_current_stream().synchronize()
    free, total = cupy.cuda.runtime.memGetInfo()
    return int(total - free)


if __name__ == "__main__":
    serve({"measure": measure})
