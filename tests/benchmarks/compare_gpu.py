"""The same checkpoints on one GPU through this package, Transformers, torch.compile and timm, in turns.

    python -m tests.benchmarks.compare_gpu --results docs/benchmarks      # writes <device>.json and .md there
    python -m tests.benchmarks.compare_gpu --cases '*large*' --dtypes bfloat16 --peers 'Transformers, sdpa'

Needs the extras `cuda12` (or `cuda13`) and `oracle` with a PyTorch for CUDA, for timm that too; nobody else may use the
GPU. Results are written after every case. What was measured before on the same device with the same versions is kept,
so that a run can be done in parts; results of other versions are kept in a file with their date in its name. Exits with
1 when this package could not be timed in one of the cases.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.dtypes import COMPUTED, EPS
from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench.backends import describe_backends
from aimv2_np.bench.ceilings import combined_rate, shapes
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.gpu import copy_bandwidth, product
from aimv2_np.bench.machine import PACKAGES, describe_machine, describe_versions
from aimv2_np.bench.models import draw_picture, vision_of, write_random
from aimv2_np.bench.run import summarise_cold, time_cold
from aimv2_np.bench.talk import Worker
from aimv2_np.bench.timing import in_turns, summary
from aimv2_np.comparison.tolerances import FACTOR
from tests.benchmarks.gpu_cases import CASES, DTYPES
from tests.benchmarks.gpu_peer import OURS, PEERS
from tests.benchmarks.gpu_report import render
from tests.benchmarks.gpu_results import Results
from tests.benchmarks.measure import Case, make_inputs, relative_error

LIBRARIES = (*PACKAGES, "cupy-cuda12x", "cupy-cuda13x", "ml_dtypes", "torch", "transformers", "timm", "triton")
COLD = ("large-224", "bfloat16")  # of which cold starts are timed


def command(peer: str, *arguments: object) -> list[str]:
    """The process of a peer."""
    return [sys.executable, "-m", "tests.benchmarks.gpu_peer", peer, *map(str, arguments)]


def measure(
    args: argparse.Namespace,
    cases: Sequence[Case],
    tell: Callable[[str], None],
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Everything that the report shows, as JSON; `keep` gets what there is of it after every case."""
    cupy = devices.find_cupy()
    found = describe_backends()["cupy"]
    data: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "device": found["devices"][0], "driver": found["driver"],
        "runtime": found["runtime"], "machine": describe_machine(), "versions": describe_versions(LIBRARIES),
        "copy_gb_per_second": copy_bandwidth(cupy) / 1e9, "cases": [], "cold": None,
    }  # fmt: skip
    for model in dict.fromkeys(case.model for case in cases):
        mine = [case for case in cases if case.model == model]
        with tempfile.TemporaryDirectory(prefix="aimv2-np-bench-") as name:
            folder = Path(name)
            tell(f"preparing {model}")
            prepare(folder, mine[0].config(args.layers), "timm" in args.peers)
            for case in mine:
                for dtype in args.dtypes:
                    data["cases"].append(compare(case, dtype, folder, args, tell))
                    keep(data)
            if model == COLD[0] and args.cold:
                data["cold"] = compare_cold(folder, mine[0].config(args.layers), args, tell)
                keep(data)
    return data


def prepare(folder: Path, config: Any, timm: bool) -> None:
    """A checkpoint with random weights, in timm's layout too."""
    write_random(folder, config)
    if timm and not config.is_native:
        from aimv2_np.tasks import convert

        convert(folder, folder / "timm", "timm")


def compare(
    case: Case, dtype: str, folder: Path, args: argparse.Namespace, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Speed and memory of all peers; one that fails, or computes something else, is not timed and says why."""
    config = case.config(args.layers)
    np.save(folder / "inputs.npy", make_inputs(config, case.given, case.batch)["pixel_values"])
    (folder / "expected.npy").unlink(missing_ok=True)
    within = FACTOR[dtype] * EPS[dtype] * sqrt(1 + config.num_hidden_layers)
    tell(f"{case.name}, {dtype}")
    found = _together(args.peers, dtype, folder, args.seconds, within)
    for name, peer in found.items():
        if "memory" in peer.get("failed", ""):  # beside all the others; by itself it may have room
            found[name] = _together([name], dtype, folder, args.seconds, within)[name] | {"alone": True}
    for peer in found.values():
        if "seconds" in peer:
            peer["per_second"] = case.batch / peer["seconds"]["median"]
    multiplied = products(config, case.given, case.batch)
    return {
        "name": case.name, "dtype": dtype, "batch": case.batch, "input": case.given, "layers": args.layers,
        "seconds": args.seconds, "flops": total_flops(multiplied),
        "gemm_tflops": gemm_rate(multiplied, dtype) / 1e12, "peers": found,
    }  # fmt: skip


def _together(
    peers: Sequence[str], dtype: str, folder: Path, seconds: float, within: float
) -> dict[str, dict[str, Any]]:
    """Peers in turns, all of them loaded at once; by name what was measured, or why it failed."""
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in peers:
            worker = stack.enter_context(Worker(command(name)))
            before = _taken()
            try:
                opened = worker.ask(
                    "open", folder=str(folder), dtype=dtype, inputs=str(folder / "inputs.npy"),
                    features=str(folder / "features.npy"),
                )  # fmt: skip
            except RuntimeError as error:
                found[name] = {"failed": _said(error)}
                continue
            error = _error(folder)
            found[name] = {"error": error, "opening": opened["seconds"], "memory": opened["taken"] - before}
            if error <= within:
                workers[name] = worker
            else:
                found[name]["failed"] = f"computes something else: relative error {error:.2g}, expected {within:.2g}"
        try:
            times = in_turns({name: _pass_of(worker) for name, worker in workers.items()}, seconds) if workers else {}
        except RuntimeError as error:  # one of them died; the times of none are complete
            return {name: {"failed": _said(error)} if name in workers else it for name, it in found.items()}
        for name, taken in times.items():
            found[name]["seconds"] = summary(taken)
    return found


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _error(folder: Path) -> float:
    """Of the latest features against the first ones, ours."""
    features = np.load(folder / "features.npy")
    if not (folder / "expected.npy").exists():
        np.save(folder / "expected.npy", features)
    return relative_error(features, np.load(folder / "expected.npy"))


def _pass_of(worker: Worker) -> Callable[[], float]:
    return lambda: float(worker.ask("run"))


def _taken() -> int:
    free, total = sys.modules["cupy"].cuda.runtime.memGetInfo()
    return int(total - free)


def gemm_rate(multiplied: Sequence[Any], dtype: str) -> float:
    """Operations per second of the model's products with weights, each by itself, by cuBLAS."""
    cupy = sys.modules["cupy"]
    by_shape, rates = shapes(multiplied), {}
    for shape in by_shape:
        clock = product(cupy, shape, dtype)
        rates[shape] = shape.flops / sorted(clock() for _ in range(9))[4]
    cupy.get_default_memory_pool().free_all_blocks()
    return combined_rate(by_shape, rates)


def compare_cold(folder: Path, config: Any, args: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Fresh processes in turns, from their start to the first features; nothing is compiled by torch.compile."""
    vision = vision_of(config)
    assert vision is not None
    draw_picture(folder / "picture.png", vision)
    runs: dict[str, Any] = {name: [] for name in args.peers if not name.startswith("torch.compile")}
    failed: dict[str, Any] = {}
    for _ in range(args.cold):
        for name in [it for it in runs if it not in failed]:
            tell(f"cold start of {name}")
            try:
                line = command(name, folder, COLD[1], folder / "picture.png", vision.image_shape[0])
                runs[name].append(time_cold(line, usable_cores()))
            except RuntimeError as error:
                failed[name] = {"failed": _said(error)}
    return {name: failed.get(name) or summarise_cold(found) for name, found in runs.items()}


def parse(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[Case]]:
    """The options, and the cases that they choose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", metavar="DIR", type=Path, help="write <device>.json and .md there, case by case")
    parser.add_argument("--render", metavar="FILE", help="measure nothing; write the page of this JSON file")
    parser.add_argument("--cases", nargs="+", metavar="GLOB", default=["*"], help="by name: '3B-224*'")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--peers", nargs="+", metavar="NAME", choices=PEERS, default=list(PEERS))
    parser.add_argument("--seconds", type=float, default=5.0, help="for each case (at least three rounds)")
    parser.add_argument("--cold", type=int, default=3, help="fresh processes of each peer")
    parser.add_argument("--layers", type=int, help="only so many blocks: to try the benchmark itself")
    args = parser.parse_args(arguments)
    cases = [case for case in CASES if any(fnmatchcase(case.name, glob) for glob in args.cases)]
    if not cases:
        parser.error(f"no case matches {' '.join(args.cases)}; there are: {'; '.join(case.name for case in CASES)}")
    if args.seconds < 0 or args.cold < 0:
        parser.error("--seconds and --cold are 0 or more")
    args.peers = [OURS, *(it for it in args.peers if it != OURS)]
    assert set(args.dtypes) <= set(COMPUTED)
    return args, cases


def main() -> None:
    args, cases = parse()
    if args.render:
        path = Path(args.render)
        path.with_suffix(".md").write_text(render(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
        return
    keep = Results(args.results).keep if args.results else lambda _: None
    data = measure(args, cases, lambda what: print(what, file=sys.stderr, flush=True), keep)
    sys.stdout.write(render(data))
    if any("seconds" not in case["peers"][OURS] for case in data["cases"]):
        sys.exit(f"{OURS} could not be timed in every case")


if __name__ == "__main__":
    main()
