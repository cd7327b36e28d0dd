"""docs/performance.md says what docs/performance.json says."""

import json
import re

import pytest

from tests.benchmarks.compare_peers import added, joined, parse
from tests.benchmarks.measure import CASES
from tests.benchmarks.peer import OURS, PLAIN
from tests.benchmarks.readme import filled, lines
from tests.benchmarks.report import BRIEF, COMPARED, render
from tests.benchmarks.targets import targets
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
TIMES = {"median": 2.0, "best": 1.5, "spread": 0.1, "rounds": 3}
MEMORY = {"anonymous": 50_000_000, "peak": 1_300_000_000}


def run(**changes):
    """A run of two peers, one of which computes something else in the second case."""
    peers = {
        "OpenVINO": {"error": 1e-6, "seconds": {**TIMES, "median": 3.0}, "per_second": 1 / 3, "memory": MEMORY},
        "aimv2_np": {"error": 0.0, "seconds": TIMES, "per_second": 0.5, "memory": MEMORY},
    }
    wrong = {**peers, "OpenVINO": {"error": 0.5, "failed": "computes something else"}}
    failed = {"failed": "gone"}
    stages = {"start": 0.25, "load": 0.5, "prepare": 0.125, "run": 1.0}
    return {
        "date": "2025-01-02", "native": {"used": "neon", "available": ["neon"], "reason": "in C for neon"},
        "versions": {"numpy": "2.4"}, "threads": 2, "seconds": 60.0, "layers": None,
        "machine": {"processor": "A CPU", "cores": 4, "memory": 16e9, "load": 0.0},
        "cases": [
            {"name": "one", "batch": 1, "flops": 80e9, "peak_gflops": 50.0, "peers": peers},
            {"name": "two", "batch": 1, "flops": None, "peak_gflops": None, "peers": wrong},
        ],
        "cold": {"aimv2_np": {"seconds": TIMES, "stages": stages, "memory": MEMORY}, "ONNX Runtime": failed},
        "sharing": {"aimv2_np": {"processes": 4, "proportional": 1_400_000_000, "anonymous": [1, 40_000_000]}},
        "profile": None,
        "kernels": {
            "blas": {"library": "openblas", "version": "0.3"},
            "kernels": [{"kernel": "Haswell", "core_type": None, "gflops": 100.4}],
        },
        **changes,
    }  # fmt: skip


def test_the_page_is_that_of_the_run():
    found = json.loads((DOCS / "performance.json").read_text(encoding="utf-8"))["runs"]
    assert (DOCS / "performance.md").read_text(encoding="utf-8") == render(found)
    assert (DOCS / "performance.png").is_file()
    assert {case["name"] for it in found for case in it["cases"]} <= {case.name for case in CASES}


def test_numbers():
    lines = render_one(run()).splitlines()
    assert "| per second | aimv2_np | OpenVINO |" in lines
    assert "| share of the peak, 50 GFLOP/s, of the first line below | 80 % | 53 % |" in lines
    assert "| one | 0.5 [80 %] | 0.333 (1.50 ×) |" in lines  # 3 s there, 2 s here
    assert "| one | 1.5 | 1.5 (1.00 ×) |" in lines  # in the best round
    assert "| two | 0.5 | – |" in lines
    assert "- OpenVINO, two: computes something else" in lines
    assert "| aimv2_np | 2.00 | 1.50 | 0.25 + 0.50 + 0.12 + 1.00 | 1.3 GB |" in lines
    assert "| ONNX Runtime | – |  |  | gone |" in lines
    assert "| one | 50 MB / 1.3 GB | 50 MB / 1.3 GB |" in lines
    assert "| two | 50 MB / 1.3 GB |  |" in lines
    assert "| 4 × aimv2_np | 1.4 GB | 40 MB |" in lines
    assert "| Haswell | 100 | in use |" in lines


def test_the_model_of_more_cores():
    """2 s on one core and 1.01 on two: 0.02 s are not divided; 2.7 GB at 27 GB/s are read in a tenth of a second."""
    profile = {
        "profile": {"operations": [], "copy_gb_per_second": 27.0}, "gflops": 1.0, "sgemm_gflops": 1.0,
        "sgemm_fraction": 1.0, "memory": dict.fromkeys(("working", "anonymous", "started")),
    }  # fmt: skip
    page = render_one(run(scaling={"1": 2.0, "2": 1.01}, profile=profile, weight_bytes=2_700_000_000))
    assert "W = 2.00 s, S = 20 ms, M = 100 ms" in page
    lines = page.splitlines()
    assert "| 1 | 2.00 | 2.000 | 1.0 × |" in lines
    assert "| 2 | 1.01 | 1.010 | 2.0 × |" in lines
    assert "| 8 |  | 0.268 | 7.5 × |" in lines
    assert "| 64 |  | 0.100 | 20.0 × |" in lines
    better_than_divided = render_one(run(scaling={"1": 2.0, "2": 0.9}, profile=profile, weight_bytes=2_700_000_000))
    assert "S = 0 ms" in better_than_divided


def test_trial_runs_are_called_so():
    assert "trial" not in render_one(run())
    assert "every tower was cut to 1 layer." in render_one(run(layers=1))
    busy = {**run()["machine"], "load": 3.5}
    assert "other programs were running (load average 3.5 at the start)" in render_one(run(machine=busy))


def test_where_the_time_went():
    operations = [
        {"operation": "linear 4->4", "calls": 3, "seconds": 0.25, "share": 0.5, "unit": "GFLOP/s", "achieved": 75.0,
         "ceiling": 100.0},
        {"operation": "between operations", "calls": None, "seconds": 0.25, "share": 0.5, "unit": None,
         "achieved": None, "ceiling": None},
    ]  # fmt: skip
    profile = {
        "gflops": 80.0, "sgemm_gflops": 100.0, "sgemm_fraction": 0.8,
        "memory": {"working": 12_000_000, "anonymous": 60_000_000, "started": 20_000_000},
        "profile": {"copy_gb_per_second": 17.0, "operations": operations},
    }  # fmt: skip
    page = render_one(run(profile=profile))
    assert "80 GFLOP/s of the 100 GFLOP/s that products" in page
    assert "**80 %**" in page
    assert "| linear 4->4 | 3 | 250.0 | 50.0 % | 75.0 GFLOP/s |" in page
    assert "| between operations |  | 250.0 | 50.0 % |  |" in page
    assert "12 MB of working memory" in page


def test_what_is_slower_than_the_pass_is_no_ceiling():
    profile = {
        "gflops": 199.0, "sgemm_gflops": 169.0, "sgemm_fraction": 1.18, "peak_gflops": 198.0, "peak_fraction": 1.01,
        "memory": {"working": None, "anonymous": None, "started": None},
        "profile": {"copy_gb_per_second": 25.0, "operations": []},
    }  # fmt: skip
    page = render_one(run(profile=profile))
    assert "199 GFLOP/s, more than products of the model's shapes, timed beside it, reached. Reading" in page
    assert "The peak: 198 GFLOP/s." in page
    assert not [
        share for share in re.findall(r"([0-9]+) %", page.partition("Where the time goes, ")[2]) if int(share) > 100
    ]


def test_commands_of_the_page_exist():
    import click

    from aimv2_np.cli.app import app

    page = render_one(run())
    known = {it for p in app.get_command(click.Context(app), "bench").params for it in p.opts}
    commands = re.findall(r"^aimv2-np bench(.*?)(?:#.*)?$", page, re.MULTILINE)
    assert len(commands) > 5
    for command in commands:
        assert set(re.findall(r"--[a-z-]+", command)) <= known


def test_a_case_can_be_measured_again_by_itself():
    names = [case.name for case in CASES[:3]]
    old = run(cases=[{"name": names[0], "peers": 1}, {"name": names[2], "peers": 2}])
    new = run(cases=[{"name": names[1], "peers": 3}, {"name": names[0], "peers": 4}], cold=None, date="2025-01-03")
    new["machine"] = {**new["machine"], "load": 0.4}
    both = joined(old, new)
    assert [(case["name"], case["peers"]) for case in both["cases"]] == [(names[0], 4), (names[1], 3), (names[2], 2)]
    assert both["cold"] == old["cold"]
    assert (both["date"], both["machine"]["load"]) == ("2025-01-03", 0.4)


@pytest.mark.parametrize("change", [{"versions": {"numpy": "2.5"}}, {"seconds": 1.0}, {"machine": {"processor": "B"}}])
def test_another_machine_begins_a_new_page(change):
    new = run(cases=[{"name": CASES[1].name, "peers": 3}], **change)
    assert joined(run(), new) == new


def test_a_processor_has_one_table():
    """A new run replaces that of the same processor, and leaves the others alone."""
    here, there = run(), run(machine={**run()["machine"], "processor": "B"})
    new = run(seconds=1.0)
    assert added([here, there], new) == [new, there]
    assert added([there], new) == [there, new]
    page = render([here, there])
    assert page.count("### A CPU") == page.count("### B") == 1


def test_what_computed_and_how_it_was_measured_is_said():
    page = render_one(run(command="python -m this"))
    assert "float32 in C for neon" in page
    assert "`python -m this`, 60 seconds a line" in page


def test_runs_of_which_only_ratios_are_known():
    peers = {"aimv2_np": {"seconds": {"median": 1.0}, "per_second": None},
             "OpenVINO": {"seconds": {"median": 0.5}, "per_second": None}}  # fmt: skip
    old = run(cases=[{"name": "one", "peers": peers}], cold=None, sharing=None, kernels=None, date=None)
    page = render_one(old)
    assert "| one |  | (0.50 ×) |" in page
    assert "Not measured" not in page
    assert "Measured: 2 of 4 cores" in page


def test_own_memory_is_that_of_the_worst_moment_where_it_was_measured():
    (case, *_) = run()["cases"]
    peers = {name: {**peer, "memory": {**MEMORY, "worst": 70_000_000}} for name, peer in case["peers"].items()}
    assert "| one | 70 MB / 1.3 GB | 70 MB / 1.3 GB |" in render_one(run(cases=[{**case, "peers": peers}]))


def timed(name, times, flops=80e9):
    """A case of which we take 2 s and the others so many times as long."""
    peers = {OURS: {"seconds": TIMES, "memory": {**MEMORY, "worst": 60_000_000}}}
    peers |= {peer: {"seconds": {**TIMES, "median": 2 * ratio}} for peer, ratio in times.items()}
    return {"name": name, "flops": flops, "peak_gflops": 50.0, "peers": peers}


def test_what_was_aimed_at_and_reached():
    cases = [
        timed("large, 224 px, 1 picture", {"OpenVINO": 1.05, "ONNX Runtime": 1.125}),
        timed("large, 224 px, 8 pictures", {"OpenVINO": 1.5, "ONNX Runtime": 1.5}),
        timed("large native, 4096 tokens, 1 picture", {"OpenVINO": 1.25}),
        timed("large, 224 px, 1 picture, in bfloat16", {"OpenVINO": 0.5}),
    ]
    cold = {OURS: {"seconds": TIMES}, "OpenVINO": {"seconds": {"median": 4.0}}}
    lines = targets(run(cases=cases, cold=cold)).splitlines()
    assert lines[2:] == [
        "| pictures: 1.03 × OpenVINO | 1.05–1.50 × |  |",
        "| pictures: 1.10 × ONNX Runtime | 1.12–1.50 × |  |",
        "| in bfloat16: 1.00 × OpenVINO | 0.50 × | large, 224 px, 1 picture, in bfloat16: 0.50 ×, 160 % |",  # they: 4 s
        "| large, 224 px, 1 picture: 75 % of the peak | 80 % |  |",
        "| large, 224 px, 8 pictures: 85 % of the peak | 80 % | missed |",
        "| cold start: 0.4 × OpenVINO's seconds | 0.50 × | 2.00 s; 1.60 s would do |",
        "| large, 224 px, 1 picture: at most 50 MB of its own | 60 MB | missed |",
    ]
    intel = run(cases=cases[:2], cold=None, machine={**run()["machine"], "processor": "Intel Xeon"})
    assert targets(intel).splitlines()[2:4] == [  # OpenVINO's 1.05 times as long are 38 GFLOP/s
        "| pictures: 1.10 × OpenVINO | 1.05–1.50 × | large, 224 px, 1 picture: 1.05 ×, 84 % |",
        "| pictures: 1.15 × ONNX Runtime | 1.12–1.50 × | large, 224 px, 1 picture: 1.12 ×, 82 % |",
    ]
    assert "| aimed at |" not in render_one(run(native={"used": None, "available": [], "reason": "by NumPy"}))


def readme_run(processor, ratios, used):
    """One and eight pictures, at these ratios to all others."""
    cases = []
    for batch, ratio in zip((1, 8), ratios, strict=True):
        peers = {
            name: {"seconds": {"median": batch * (ratio if name != "aimv2_np" else 1)}, "memory": MEMORY,
                   "per_second": 1 / (ratio if name != "aimv2_np" else 1)}
            for name in ("aimv2_np", *COMPARED)
        }  # fmt: skip
        cases.append({"name": BRIEF[batch > 1], "batch": batch, "peers": peers})
    native = {"used": used, "available": [], "reason": ""}
    cold = {name: {"seconds": TIMES} for name in ("aimv2_np", *COMPARED)}
    machine = {**run()["machine"], "processor": processor}
    return run(cases=cases, native=native, machine=machine, cold=cold)


def test_readme_has_the_range_over_processors_and_the_table_of_the_worst():
    runs = [readme_run("Fast", (1.5, 1.25), "avx512"), readme_run("Slow", (0.5, 0.75), None)]
    found = "\n".join(lines(runs).values())
    assert "0.50–1.50 × OpenVINO" in found
    assert "[measured on 2 processors](docs/performance.md), 1 of them without the kernels in C)" in found
    assert "| large, one picture, 2 cores, Slow |" in found
    assert "| pictures a second, one at a time; in batches of eight | 1.00; 1.00 | 2.00; 1.33 | 2.00; 1.33 |" in found
    assert "without the kernels" not in "\n".join(lines(runs[:1]).values())
    text = "\n".join(start + "old" for start in lines(runs))
    assert filled(text, runs) == found
    assert lines([*runs, {**runs[1], "layers": 2}]) == lines(runs)  # a trial
    part = {**runs[1], "cases": runs[1]["cases"][:1]}
    assert "Fast" in lines([runs[0], part])["| large, one picture, "]
    assert lines([{**part, "cases": []}]) == {}
    with pytest.raises(ValueError, match="README has 0 lines that begin with"):
        filled("nothing", runs)


def test_quick_is_the_same_with_fewer_of_everything():
    args, cases = parse(["--quick", "--layers", "2"])
    assert [case.name for case in cases] == list(BRIEF[:2])
    assert args.peers == [OURS, PLAIN, *COMPARED]
    assert args.seconds == 15
    assert args.command[-3:] == ["--quick", "--layers", "2"]
    assert parse(["--quick", "--cases", "*busy*"])[1][0].neighbour


def render_one(it):
    return render([it])
