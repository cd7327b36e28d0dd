"""The calls of `run_gpu.sh`: steps in processes of their own, each within a time limit, and a table of them at the end.

python -m tests.benchmarks.gpu_calls [--quick] [correctness|benchmark|again]... [-- OPTIONS OF compare_gpu]
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.gpu_steps import Row, Step, run_step
from tests.support.paths import ROOT

SECONDS = 570  # of a quick call: ten minutes less the start of the shell and the interpreter
PEERS = ("Transformers, sdpa", "torch.compile", "torch.compile, reduce-overhead")
WORKERS = 12
LOGS = ROOT / "docs" / "benchmarks" / "logs"
# Everything that has tests marked gpu, without collecting what has none.
FOLDERS = (
    "tests/gpu", "tests/kernels/cuda", "tests/oracle/gpu", "tests/cuda_emulator", "tests/bench/test_gpu.py",
    "tests/benchmarks/test_gpu.py", "tests/benchmarks/test_gpu_smoke.py", "tests/benchmarks/test_gpu_training.py",
    "tests/backends/test_devices.py",
    "tests/backends/test_stacking.py", "tests/gradients/test_cupy.py", "tests/gradients/test_half.py",
    "tests/training/test_precision.py",
)  # fmt: skip
QUICK = (  # options of compare_gpu, and seconds
    (["--cases", "large-224, batch 64", "large-224, batch 1"], 310),
    (["--cases", "large-448, batch 64"], 180),
    (["--cases", "3B-224, batch 64", "--layers", "4"], 180),
)
AGAIN = ["--cases", "large-224, batch 64"]


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        quick: within ten minutes a call.
        options: of compare_gpu, in place of the cases that a call measures by itself.
        results, logs: the folders that are written to.
    """

    quick: bool
    options: Sequence[str]
    results: Path
    logs: Path


def correctness(plan: Plan) -> list[Step | Row]:
    """Graphs; tests; every kernel under compute-sanitizer."""
    sanitizer = os.environ.get("COMPUTE_SANITIZER", "compute-sanitizer")
    kernels = ["python", "-m", "tests.benchmarks.gpu_smoke", "kernels"]
    tests = [*pytest(plan, WORKERS), *FOLDERS] if plan.quick else [*pytest(plan), "tests"]
    return [
        Step("graphs", ["python", "-m", "tests.benchmarks.gpu_smoke", "graphs"], 120),
        Step("kernels", kernels, 120),
        Step("training", ["python", "-m", "tests.benchmarks.gpu_training", "agreement"], 60),
        Step("tests", tests, 300),
        *(
            Step(tool, [sanitizer, "--tool", tool, "--error-exitcode", "9", *kernels], 120)
            for tool in ("memcheck", "racecheck")
        ),
    ]


def pytest(plan: Plan, workers: int = 0) -> list[str]:
    """The tests for a GPU, whose failures are written down. Machines have plugins that warn of each other."""
    command = [
        "python", "-m", "pytest", "-q", "--tb=short", "-p", "no:benchmark", "-p", "no:cacheprovider",
        "-p", "tests.support.failures", "--failures", str(plan.logs / "failed.txt"), "-m", "gpu", "--require-gpu",
    ]  # fmt: skip
    if not workers:
        return command
    # What they compare with is computed on the host, by all of them at once.
    return ["env", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", *command, "-n", str(workers)]


def benchmark(plan: Plan) -> list[Step | Row]:
    """Against Transformers and torch.compile; in full after `aimv2-np bench`, in all dtypes."""
    if plan.quick:
        if plan.options:
            return [compare(plan, plan.options, SECONDS)]
        return [*(compare(plan, options, seconds) for options, seconds in QUICK), _training()]
    bench = ["python", "-m", "aimv2_np", "bench", "large-224", "3B-224", "--backend", "cupy", "--batch", "1", "8", "64"]
    return [
        *(Step(f"bench {dtype}", [*bench, "--dtype", dtype]) for dtype in ("bfloat16", "float16", "float32")),
        _training(),
        Step("compare", [*_compare(plan), *plan.options]),
    ]


def _training() -> Step:
    return Step("training", ["python", "-m", "tests.benchmarks.gpu_training", "speed"], 120)


def compare(plan: Plan, options: Sequence[str], seconds: float) -> Step:
    """A few cases, quickly."""
    quick = ["--dtypes", "bfloat16", "--peers", *PEERS, "--seconds", "2", "--cold", "0"]
    return Step(" ".join(("compare", *options)), [*_compare(plan), *quick, *options], seconds)


def _compare(plan: Plan) -> list[str]:
    return ["python", "-m", "tests.benchmarks.compare_gpu", "--results", str(plan.results)]


def again(plan: Plan) -> list[Step | Row]:
    """The tests that failed, from the list that `correctness` left, and one case."""
    found: list[Step | Row] = []
    ids = failed_tests(plan)
    if ids is None:
        missing = "there is no failed.txt: run correctness first, or name the list in FAILED"
        found.append(Row("failed tests", "not run", 0, missing))
    elif not ids:
        found.append(Row("failed tests", "passed", 0, "none had failed"))
    else:
        found.append(Step("failed tests", [*pytest(plan, min(WORKERS, len(ids))), *ids], 280))
    return [*found, compare(plan, plan.options or AGAIN, 280)]


def failed_tests(plan: Plan) -> list[str] | None:
    """The ids that the latest run of tests wrote, or those that were brought; None where nobody says."""
    named = os.environ.get("FAILED")
    for place in [Path(named)] if named else [plan.logs / "failed.txt", LOGS / "failed.txt"]:
        if place.is_file():
            return place.read_text(encoding="utf-8").splitlines()
    return None


CALLS: dict[str, Callable[[Plan], list[Step | Row]]] = {
    "correctness": correctness, "benchmark": benchmark, "again": again,
}  # fmt: skip
NEEDS = {
    "correctness": ("pytest", "xdist", "beartype", "hypothesis", "jaxtyping", "msgpack", "torch", "transformers"),
    "benchmark": ("torch", "transformers"),
    "again": ("pytest", "xdist", "beartype", "hypothesis", "jaxtyping", "msgpack", "torch", "transformers"),
}


def run_call(name: str, plan: Plan) -> list[Row]:
    """Its steps one after the other, what they say in `<name>.txt`; those that no time is left for are not begun."""
    ends = time.monotonic() + (SECONDS if plan.quick else float("inf"))
    with (plan.logs / f"{name}.txt").open("w", encoding="utf-8") as log:
        rows = [
            step if isinstance(step, Row) else run_step(step, log, ends, limited=plan.quick)
            for step in CALLS[name](plan)
        ]
    return [row.of(name) for row in rows]


def parse(arguments: Sequence[str]) -> tuple[list[str], Plan]:
    """The calls asked for, and how."""
    ours, options = list(arguments), []
    if "--" in ours:
        at = ours.index("--")
        ours, options = ours[:at], ours[at + 1 :]
    parser = argparse.ArgumentParser(prog="run_gpu.sh", epilog="behind --: options of compare_gpu")
    parser.add_argument("--quick", action="store_true", help="each call within ten minutes")
    parser.add_argument("calls", nargs="*", metavar="call", help=f"{', '.join(CALLS)}; all of them by default")
    args = parser.parse_args(ours)
    if wrong := [it for it in args.calls if it not in CALLS]:
        parser.error(f"the call is {wrong[0]!r}; expected one of {', '.join(CALLS)}")
    out = os.environ.get("OUT")
    results, logs = (Path(out), Path(out)) if out else (LOGS.parent, LOGS)
    return args.calls or list(CALLS), Plan(args.quick, options, results, logs)


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| call | step | | seconds | last line |", "|---|---|---|---:|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row.cells())} |" for row in rows)])


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and the running step ends too
    calls, plan = parse(sys.argv[1:])
    began = time.time()
    plan.logs.mkdir(parents=True, exist_ok=True)
    needed = list(dict.fromkeys(module for call in calls for module in NEEDS[call]))
    with (plan.logs / "here.txt").open("w", encoding="utf-8") as log:
        run_step(Step("backends", ["python", "-m", "aimv2_np", "info", "--backends"]), log)
        if run_step(Step("here", ["python", "-m", "tests.benchmarks.gpu_smoke", "here", *needed]), log).failed:
            sys.exit(2)
    rows = [row for call in calls for row in run_call(call, plan)]
    for page in sorted(plan.results.glob("*.md")):
        if page.stat().st_mtime >= began:
            print(f"\n{page.read_text(encoding='utf-8')}")
    print(f"\n{table(rows)}\n\nlogs: {plan.logs}; results: {plan.results}", flush=True)
    sys.exit(int(any(row.failed for row in rows)))


if __name__ == "__main__":
    main()
