"""The same checkpoints through OpenVINO, ONNX Runtime, Transformers and this package, in turns, on the same cores.

    python -m tests.benchmarks.compare_peers --write      # measures everything on this processor
    python -m tests.benchmarks.compare_peers --quick      # some minutes: one and eight pictures, four programs
    python -m tests.benchmarks.compare_peers --render     # measures nothing: the pages anew from the data

The data are docs/performance.json, one run for each processor: a new run replaces the one on the same processor and no
other. From them docs/performance.{md,png} and README's figures are written. Needs the extras `bench`, `oracle`, `onnx`
and `viz`, 8 GB of disk for each architecture in turn and 20 GB of memory.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

from aimv2_np import __version__
from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench.ceilings import Shape
from aimv2_np.bench.kernels import compare_kernels
from aimv2_np.bench.machine import PACKAGES, describe_machine, describe_versions
from aimv2_np.bench.run import measure_case
from aimv2_np.files.json import write_json
from aimv2_np.kernels.native.library import describe_native
from tests.benchmarks.measure import CASES, Case, compare, compare_cold, compare_sharing, make_inputs, prepare
from tests.benchmarks.peer import OURS, PEERS, PLAIN
from tests.benchmarks.readme import filled
from tests.benchmarks.report import draw_chart, render

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DATA, PAGE, CHART = (ROOT / "docs" / f"performance.{kind}" for kind in ("json", "md", "png"))
LIBRARIES = (*PACKAGES, "torch", "transformers", "onnx", "onnxruntime", "openvino")
PROFILED = CASES[0]  # of which the page shows where the time goes, and on which cold starts are timed
QUICK: dict[str, Any] = {
    "cases": [case.name for case in CASES[:2]], "seconds": 15.0, "cold": 2,
    "peers": [OURS, PLAIN, "OpenVINO", "ONNX Runtime", "Transformers, sdpa"],
}  # fmt: skip


Tell = Callable[[str], None]


def measure(args: argparse.Namespace, cases: Sequence[Case], tell: Tell) -> Iterator[dict[str, Any]]:
    """A run: everything that the page shows of this processor, as JSON; after each case what there is by then."""
    data: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "command": shlex.join(args.command), "machine": describe_machine(),
        "versions": {"aimv2-np": __version__} | describe_versions(LIBRARIES), "native": describe_native(),
        "threads": args.threads, "seconds": args.seconds, "layers": args.layers, "cases": [], "cold": None,
        "sharing": None, "profile": None, "scaling": None,
    }  # fmt: skip
    shapes = [Shape(256, 1024, 1024), Shape(256, 1024, 2816), Shape(256, 2816, 1024)]
    data["kernels"] = compare_kernels(shapes, args.threads, args.seconds, tell)
    for (_, given), group in groupby(cases, key=lambda it: (it.model, it.given)):
        with tempfile.TemporaryDirectory(prefix="aimv2-np-bench-") as name:
            folder, first, *others = Path(name), *group
            config = first.config(args.layers)
            tell(f"preparing {first.name}")
            prepare(folder, config, make_inputs(config, given, 2), peaked=first.peaked)
            for case in (first, *others):
                found = compare(case, folder, args.peers, args.threads, args.seconds, args.layers, tell)
                data["cases"].append(found)
                if case == PROFILED:
                    data |= _alone(case, folder, args, tell)
                yield data


def _alone(case: Case, folder: Path, args: argparse.Namespace, tell: Tell) -> dict[str, Any]:
    """What each peer does by itself: cold starts, memory of several processes; and our profile."""
    config = case.config(args.layers)
    arguments = {"folder": str(folder), "given": case.given, "batch": case.batch}
    counts = range(1, args.threads + 1)
    tell(f"ours with {', '.join(map(str, counts))} cores")
    scaling = [measure_case(arguments, count, args.seconds, profile=False)["seconds"]["median"] for count in counts]
    return {
        "scaling": dict(zip(map(str, counts), scaling, strict=True)),
        "cold": compare_cold(folder, config, args.peers, args.threads, args.cold, tell),
        "sharing": compare_sharing(folder, args.peers, args.threads, args.processes, tell),
        "profile": measure_case(arguments, args.threads, args.seconds, profile=True),
        "weight_bytes": (folder / "model.safetensors").stat().st_size,
    }


def parse(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[Case]]:
    """The options, and the cases that they choose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write", action="store_true", help="write docs/performance.*, which keeps the cases that are not measured now"
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases, programs and rounds, in some minutes")
    parser.add_argument("--render", action="store_true", help="measure nothing; from docs/performance.json")
    parser.add_argument("--drop", metavar="GLOB", default="", help="leave out runs on such processors from now on")
    parser.add_argument("--cases", nargs="+", metavar="GLOB", default=["*"], help="by name: '*224 px*'")
    parser.add_argument("--peers", nargs="+", metavar="NAME", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=60.0, help="for each case (at least three rounds)")
    parser.add_argument("--cold", type=int, default=5, help="fresh processes of each peer")
    parser.add_argument("--processes", type=int, default=4, help="at once on one checkpoint")
    parser.add_argument("--layers", type=int, help="only so many blocks: to try the benchmark itself")
    if "--quick" in (sys.argv[1:] if arguments is None else arguments):
        parser.set_defaults(**QUICK)
    args = parser.parse_args(arguments)
    args.command = [
        "python",
        "-m",
        "tests.benchmarks.compare_peers",
        *(sys.argv[1:] if arguments is None else arguments),
    ]
    cases = [case for case in CASES if any(fnmatchcase(case.name, glob) for glob in args.cases)]
    if not cases:
        parser.error(f"no case matches {' '.join(args.cases)}; there are: {'; '.join(case.name for case in CASES)}")
    if not 1 <= args.threads <= usable_cores():
        parser.error(f"--threads is {args.threads}; expected 1 to {usable_cores()}")
    for name in ("cold", "processes"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; expected at least 1")
    if OURS not in args.peers:
        args.peers.insert(0, OURS)
    return args, cases


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, and of `old` the cases that were not, if it was measured in the same way."""
    same = ("versions", "native", "threads", "seconds", "layers")
    if any(old.get(key) != new[key] for key in same) or old["machine"] | {"load": 0} != new["machine"] | {"load": 0}:
        return new
    found = {case["name"]: case for case in (*old["cases"], *new["cases"])}
    cases = [found[case.name] for case in CASES if case.name in found]
    load = max(old["machine"]["load"] or 0, new["machine"]["load"] or 0)
    kept = {key: value for key, value in old.items() if new.get(key) is None}
    return new | kept | {"cases": cases, "machine": new["machine"] | {"load": load}}


def added(runs: Sequence[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs with a new one, in the place of that on the same processor, or behind the others."""
    processors = [run["machine"]["processor"] for run in runs]
    if (processor := new["machine"]["processor"]) not in processors:
        return [*runs, new]
    return [joined(run, new) if name == processor else run for name, run in zip(processors, runs, strict=True)]


def write(runs: Sequence[dict[str, Any]]) -> None:
    """The data, and what is made of them."""
    write_json(DATA, {"runs": runs}, overwrite=True)
    PAGE.write_text(render(runs), encoding="utf-8")
    README.write_text(filled(README.read_text(encoding="utf-8"), runs), encoding="utf-8")
    draw_chart(runs, CHART)


def main() -> None:
    args, cases = parse()
    runs = json.loads(DATA.read_text(encoding="utf-8"))["runs"] if DATA.exists() else []
    runs = [run for run in runs if not fnmatchcase(run["machine"]["processor"], args.drop)]
    if args.render:
        write(runs)
        return
    new: dict[str, Any] = {}
    for new in measure(args, cases, lambda what: print(what, file=sys.stderr, flush=True)):
        if args.write:  # an hour's work is not lost when the next case fails
            write(added(runs, new))
    if not args.write:
        sys.stdout.write(render([new]))


if __name__ == "__main__":
    main()
