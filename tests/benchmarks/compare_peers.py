"""The same checkpoints through OpenVINO, ONNX Runtime, Transformers and this package, in turns, on the same cores.

    python -m tests.benchmarks.compare_peers --write      # measures, then writes docs/performance.{json,md,png}
    python -m tests.benchmarks.compare_peers --render     # writes the page and the chart anew from the JSON

Needs the extras `bench`, `oracle`, `onnx` and `viz`, 5 GB of disk for each architecture in turn and 20 GB of memory.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench.ceilings import Shape
from aimv2_np.bench.kernels import compare_kernels
from aimv2_np.bench.machine import PACKAGES, describe_machine, describe_versions
from aimv2_np.bench.run import measure_case
from aimv2_np.files.json import write_json
from tests.benchmarks.measure import CASES, Case, compare, compare_cold, compare_sharing, make_inputs, prepare
from tests.benchmarks.peer import PEERS
from tests.benchmarks.report import draw_chart, render

DOCS = Path(__file__).parents[2] / "docs"
DATA, PAGE, CHART = (DOCS / f"performance.{kind}" for kind in ("json", "md", "png"))
LIBRARIES = (*PACKAGES, "torch", "transformers", "onnx", "onnxruntime", "openvino")
PROFILED = ("large-224", 1)  # of which the page shows where the time goes, and on which cold starts are timed


def measure(args: argparse.Namespace, cases: Sequence[Case], tell: Callable[[str], None]) -> dict[str, Any]:
    """Everything that the page shows, as JSON."""
    data: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), "versions": describe_versions(LIBRARIES),
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
                if (case.model, case.batch) == PROFILED:
                    data |= _alone(case, folder, args, tell)
    return data


def _alone(case: Case, folder: Path, args: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
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
    parser.add_argument("--render", action="store_true", help="measure nothing; from docs/performance.json")
    parser.add_argument("--cases", nargs="+", metavar="GLOB", default=["*"], help="by name: '*224 px*'")
    parser.add_argument("--peers", nargs="+", metavar="NAME", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=60.0, help="for each case (at least three rounds)")
    parser.add_argument("--cold", type=int, default=5, help="fresh processes of each peer")
    parser.add_argument("--processes", type=int, default=4, help="at once on one checkpoint")
    parser.add_argument("--layers", type=int, help="only so many blocks: to try the benchmark itself")
    args = parser.parse_args(arguments)
    cases = [case for case in CASES if any(fnmatchcase(case.name, glob) for glob in args.cases)]
    if not cases:
        parser.error(f"no case matches {' '.join(args.cases)}; there are: {'; '.join(case.name for case in CASES)}")
    if not 1 <= args.threads <= usable_cores():
        parser.error(f"--threads is {args.threads}; expected 1 to {usable_cores()}")
    for name in ("cold", "processes"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; expected at least 1")
    if "aimv2_np" not in args.peers:
        args.peers.insert(0, "aimv2_np")
    return args, cases


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, and of `old` the cases that were not, if it was measured in the same way."""
    same = ("versions", "threads", "seconds", "layers")
    if any(old[key] != new[key] for key in same) or old["machine"] | {"load": 0} != new["machine"] | {"load": 0}:
        return new
    found = {case["name"]: case for case in (*old["cases"], *new["cases"])}
    cases = [found[case.name] for case in CASES if case.name in found]
    load = max(old["machine"]["load"] or 0, new["machine"]["load"] or 0)
    kept = {key: value for key, value in old.items() if new.get(key) is None}
    return new | kept | {"cases": cases, "machine": new["machine"] | {"load": load}}


def main() -> None:
    args, cases = parse()
    old = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else None
    data = old if args.render else measure(args, cases, lambda what: print(what, file=sys.stderr, flush=True))
    if not (args.write or args.render):
        sys.stdout.write(render(data))
        return
    if args.write:
        data = joined(old, data) if old else data
        write_json(DATA, data, overwrite=True)
    PAGE.write_text(render(data), encoding="utf-8")
    draw_chart(data, CHART)


if __name__ == "__main__":
    main()
