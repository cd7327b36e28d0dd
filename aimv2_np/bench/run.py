"""The benchmark: every model, input, batch and number of threads in a fresh process, one after the other."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from aimv2_np.backends import devices
from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench import cores, models
from aimv2_np.bench.backends import describe_backends
from aimv2_np.bench.blas import describe_blas
from aimv2_np.bench.ceilings import Shape, shapes
from aimv2_np.bench.flops import products
from aimv2_np.bench.machine import GPU_PACKAGES, PACKAGES, describe_machine, describe_versions
from aimv2_np.bench.talk import Worker, module_command
from aimv2_np.bench.timing import summary
from aimv2_np.config import AnyConfig
from aimv2_np.kernels.native.library import describe_native

SCHEMA = 1
WORTH_TRYING = 0.01  # share of the operations: smaller products decide nothing
WORKER, COLD = "aimv2_np.bench.worker", "aimv2_np.bench.cold"


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        models: as `models.specimen` takes them.
        sizes: (height, width) of pictures in pixels; none: the size that the model was made for.
        batches: pictures or texts at once.
        threads: cores to use; none: all of them.
        text_tokens: lengths of texts, which are then measured instead of pictures.
        seconds: for each combination, at least; three passes at least, too.
        profile: whether to time every operation.
        cold: how many fresh processes to time from their start to the first feature.
        processes: so many processes at once on one checkpoint, to see what memory they share.
        layers: only so many layers of a random model.
        prefix, final_norm: as for `models.specimen`, of every model.
        backend, dtype, device: as for `from_pretrained`. With "cupy" threads, profile and processes mean nothing.
    """

    models: Sequence[str]
    sizes: Sequence[tuple[int, int]] = ()
    batches: Sequence[int] = (1,)
    threads: Sequence[int] = ()
    text_tokens: Sequence[int] = ()
    seconds: float = 5.0
    profile: bool = False
    cold: int = 3
    processes: int | None = None
    layers: int | None = None
    prefix: str | None = None
    final_norm: bool = True
    backend: str = "numpy"
    dtype: str = "float32"
    device: int | None = None

    @property
    def which(self) -> dict[str, Any]:
        """Which model of each checkpoint: `prefix` and `final_norm` of `load`."""
        return {"prefix": self.prefix, "final_norm": self.final_norm}

    @property
    def place(self) -> dict[str, Any]:
        """Where it computes and in what: `backend`, `dtype` and `device` of `load`."""
        return {"backend": self.backend, "dtype": self.dtype, "device": self.device}

    def check(self) -> None:
        """ValueError for what makes no sense, before anything is written or downloaded."""
        for threads in self.threads:
            cores.check_threads(threads)
        if self.sizes and self.text_tokens:
            raise ValueError("sizes of pictures and lengths of texts are both given; measure one after the other")
        positive = {"batch": self.batches, "text_tokens": self.text_tokens, "size": [n for s in self.sizes for n in s]}
        for name, values in positive.items():
            if any(value < 1 for value in values):
                raise ValueError(f"{name} is {min(values)}; expected at least 1")
        if not self.models:
            raise ValueError("models is empty; expected at least one")


def benchmark(plan: Plan, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure what `plan` says; results as they go into JSON, described in docs/performance.md.

    Args:
        plan: what to measure.
        tell: is told what is being done.

    Raises:
        ValueError: a plan that makes no sense, or a model that lacks the tower that is to be measured.
        ImportError, RuntimeError: there is no GPU, or not that one.
        RuntimeError: a measuring process failed; with what it said.
        and what opening a checkpoint raises.
    """
    plan.check()
    on_gpu = plan.backend == "cupy"
    result: dict[str, Any] = {
        "schema": SCHEMA, "date": time.strftime("%Y-%m-%d"), "machine": describe_machine(),
        "versions": describe_versions((*PACKAGES, *(GPU_PACKAGES if on_gpu else ()))),
        **(_device(plan) if on_gpu else {"blas": describe_blas(), "native": describe_native()}), "models": [],
    }  # fmt: skip
    for name in plan.models:
        tell(f"preparing {name}")
        with models.specimen(name, plan.layers, **plan.which) as measured:
            result["models"].append(_measure_model(measured, plan, tell))
    return result


def _device(plan: Plan) -> dict[str, Any]:
    devices.find_cupy(plan.dtype)
    devices.check_device(plan.device)
    found = describe_backends()["cupy"]
    device = found["devices"][plan.device or 0]
    return {"device": device, "driver": found["driver"], "runtime": found["runtime"], "dtype": plan.dtype}


def products_of(plan: Plan) -> tuple[list[Shape], int]:
    """The products with weights of the plan's first combination, and its number of threads: what kernels are for.

    Raises what `benchmark` raises; no weights are written.
    """
    plan.check()
    name, batch = plan.models[0], plan.batches[0]
    config = models.configuration(name, plan.layers, **plan.which)
    given = inputs_of(name, config, plan)[0]
    found = shapes(products(config, given, batch))
    few = [shape for shape, count in found.items() if count > WORTH_TRYING * sum(found.values())]
    return few, (plan.threads or [usable_cores()])[0]


def _measure_model(measured: models.Specimen, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    name = measured.name
    inputs = inputs_of(name, measured.config, plan)
    models.warm_up(measured)
    threads = list(plan.threads) or [usable_cores()]
    model = {"folder": str(measured.folder), "which": measured.which | plan.place}
    cases = []
    for given, batch, count in product(inputs, plan.batches, threads):
        tell(f"{name}: {label(given)}, batch {batch}, {plan.dtype}, {count} threads")
        found = measure_case(model | {"given": given, "batch": batch}, count, plan.seconds, plan.profile)
        cases.append({"input": given, "batch": batch, "threads": count} | found)
    sharing = None
    if plan.processes:
        tell(f"{name}: {plan.processes} processes on one checkpoint")
        commands = [module_command(WORKER)] * plan.processes
        sharing = share(commands, model | {"given": inputs[0], "batch": 1}, max(threads))
    return {
        "name": name, "random": measured.random, "layers": plan.layers, "parameters": measured.parameters,
        "weight_bytes": sum(path.stat().st_size for path in measured.files), "cases": cases,
        "cold": _cold(measured, plan, max(threads), tell), "sharing": sharing,
    }  # fmt: skip


def inputs_of(name: str, config: AnyConfig, plan: Plan) -> list[dict[str, Any]]:
    """What the plan wants measured of a model."""
    vision, text = models.vision_of(config), models.text_of(config)
    if vision is None or plan.text_tokens:
        if text is None:
            raise ValueError(f"{name} has no text tower, so there are no texts to measure; drop --text-tokens")
        if plan.sizes:
            raise ValueError(f"{name} has no vision tower, so there are no pictures to measure; drop --size")
        longest = text.max_position_embeddings
        lengths = plan.text_tokens or [longest]
        if max(lengths) > longest:
            raise ValueError(f"text_tokens is {max(lengths)}; {name} has {longest} positions")
        return [{"kind": "texts", "tokens": tokens} for tokens in lengths]
    sizes = plan.sizes or [vision.image_shape]
    ph, pw = vision.patch_shape
    for height, width in sizes:
        if height < ph or width < pw:
            raise ValueError(f"size is {height}x{width}; expected at least one patch of {name}, {ph}x{pw} pixels")
    return [{"kind": "pictures", "height": height, "width": width} for height, width in sizes]


def measure_case(arguments: dict[str, Any], threads: int, seconds: float, profile: bool) -> dict[str, Any]:
    """One input of one model, in a process that has `threads` cores."""
    with cores.on_cores(threads), Worker(module_command(WORKER), cores.variables(threads)) as worker:
        found: dict[str, Any] = worker.ask("measure", **arguments, threads=threads, seconds=seconds, profile=profile)
        return found


def label(given: dict[str, Any]) -> str:
    """224x224, or "texts of 16"."""
    return f"{given['height']}x{given['width']}" if given["kind"] == "pictures" else f"texts of {given['tokens']}"


def _cold(measured: models.Specimen, plan: Plan, threads: int, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """Seconds from the start of a process to the first feature, the checkpoint being in the system's cache."""
    if plan.cold < 1:
        return None
    tell(f"{measured.name}: from a cold process to the first feature")
    with tempfile.TemporaryDirectory(prefix="aimv2-np-bench-") as folder:
        picture = ""
        if (vision := models.vision_of(measured.config)) is not None:
            picture = str(Path(folder) / models.PICTURE)
            models.draw_picture(Path(picture), vision)
        arguments = [str(measured.folder), picture, json.dumps(measured.which | plan.place)]
        runs = [time_cold(module_command(COLD, *arguments), threads) for _ in range(plan.cold)]
    return summarise_cold(runs) | {"threads": threads}


def time_cold(command: Sequence[str], threads: int) -> dict[str, Any]:
    """{"seconds", "stages", "memory"} of a process that speaks first when it has features, then of its memory."""
    with cores.on_cores(threads):
        began = time.perf_counter()
        with Worker(command, cores.variables(threads)) as worker:
            stages = worker.answer()
            seconds = time.perf_counter() - began
            return {"seconds": seconds, "stages": stages, "memory": worker.answer()}


def summarise_cold(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Times of all runs; stages and memory of the one in the middle. "start" is what comes before the stages."""
    middle = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
    start = middle["seconds"] - sum(middle["stages"].values())
    return {
        "seconds": summary([run["seconds"] for run in runs]),
        "stages": {"start": start, **middle["stages"]},
        "memory": middle["memory"],
    }


def share(commands: Sequence[Sequence[str]], arguments: dict[str, Any], threads: int) -> dict[str, Any]:
    """Memory of processes that have each run the same checkpoint, while all of them are there.

    Returns:
        "processes"; "proportional", the bytes that all take together, shared pages counted once; "anonymous" of each.
    """
    with ExitStack() as stack:
        with cores.on_cores(threads):
            workers = [stack.enter_context(Worker(command, cores.variables(threads))) for command in commands]
        for worker in workers:
            worker.ask("hold", **arguments)
        found = [worker.ask("memory") for worker in workers]
    shares = [memory["proportional"] for memory in found]
    return {
        "processes": len(found), "proportional": None if None in shares else sum(shares),
        "anonymous": [memory["anonymous"] for memory in found],
    }  # fmt: skip
