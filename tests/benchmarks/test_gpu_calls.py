"""The script for a machine with a GPU, without one: its calls, their limits, what they leave, and its exit code."""

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks import compare_gpu, gpu_calls, gpu_steps
from tests.benchmarks.gpu_calls import CALLS, FOLDERS, Plan
from tests.benchmarks.gpu_steps import Row, Step, run_step
from tests.support.gpu import why_no_gpu
from tests.support.paths import ROOT

SCRIPT = Path(gpu_calls.__file__).with_name("run_gpu.sh")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script for bash, and groups of processes")


def plan(folder: Path, *options: str, quick: bool = True) -> Plan:
    return Plan(quick, options, folder, folder)


def run(tmp_path: Path, *command: str, seconds: float = 60, ends: float = float("inf")) -> Row:
    with (tmp_path / "log.txt").open("a") as log:
        return run_step(Step("it", command, seconds), log, ends, limited=True)


# What is asked for.


def test_calls_are_chosen_by_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("OUT", raising=False)
    calls, everything = gpu_calls.parse([])
    assert (calls, everything.quick) == (["correctness", "benchmark", "again"], False)
    calls, quick = gpu_calls.parse(["--quick", "benchmark", "--", "--cases", "3B*"])
    assert (calls, quick.quick, quick.options) == (["benchmark"], True, ["--cases", "3B*"])
    assert (quick.results, quick.logs) == (ROOT / "docs/benchmarks", ROOT / "docs/benchmarks/logs")
    monkeypatch.setenv("OUT", "/tmp/out")
    assert gpu_calls.parse([])[1] == Plan(False, [], Path("/tmp/out"), Path("/tmp/out"))
    with pytest.raises(SystemExit, match="2"):
        gpu_calls.parse(["everything"])
    assert "expected one of correctness, benchmark, again" in capsys.readouterr().err


def test_every_comparison_measures_something(tmp_path: Path) -> None:
    """Options that compare_gpu takes, and cases that it has."""
    wanted = set()
    for call in (gpu_calls.benchmark, gpu_calls.again):
        for step in call(plan(tmp_path)):
            if isinstance(step, Step) and step.name != "training":
                args, cases = compare_gpu.parse(step.command[3:])
                assert args.results == tmp_path
                assert args.dtypes == ["bfloat16"]
                wanted |= {(case.name, args.layers) for case in cases}
    assert wanted == {
        ("large-224, batch 64", None), ("large-224, batch 1", None), ("large-448, batch 64", None),
        ("3B-224, batch 64", 4),
    }  # fmt: skip
    (chosen,) = gpu_calls.benchmark(plan(tmp_path, "--cases", "huge*", "--peers", "timm"))
    assert isinstance(chosen, Step)
    args, cases = compare_gpu.parse(chosen.command[3:])
    assert {case.model for case in cases} == {"huge-224", "huge-448"}
    assert args.peers[1:] == ["timm"]


def test_the_full_run_takes_its_time(tmp_path: Path) -> None:
    full = gpu_calls.benchmark(plan(tmp_path, "--dtypes", "float16", quick=False))
    *_, last = full
    assert isinstance(last, Step)
    args, cases = compare_gpu.parse(last.command[3:])
    assert (args.dtypes, len(cases)) == (["float16"], len(compare_gpu.CASES))


def test_the_named_folders_have_all_tests_for_a_gpu() -> None:
    """Whatever takes the fixture `cupy` or the marker lies in one of them."""
    for name in FOLDERS:
        assert (ROOT / name).exists()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^(def \w+\(|    )cupy: ModuleType|mark\.gpu\b", text, re.MULTILINE):
            name = path.relative_to(ROOT).as_posix()
            assert name.startswith(FOLDERS), name


# Steps.


def test_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = run(tmp_path, "python", "-c", "print('a'); print('b | c')")
    assert (good.verdict, good.said, good.failed) == ("passed", "b | c", False)
    bad = run(tmp_path, "python", "-c", "import sys; print('x'); sys.exit('why')")
    assert (bad.verdict, bad.failed) == ("failed", True)
    assert {"a", "x", "why"} <= set((tmp_path / "log.txt").read_text().splitlines())
    assert "why" in capsys.readouterr().out
    missing = run(tmp_path, "no-such-program")
    assert (missing.verdict, missing.said, missing.failed) == ("not run", "no-such-program is not installed", True)


def test_a_step_is_cut_off_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is interrupted first, so that it can say how far it came; then everything it started is ended."""
    monkeypatch.setattr(gpu_steps, "GRACE", 5.0)
    monkeypatch.setattr(gpu_steps, "LEAST", 1.0)
    os.mkfifo(alive := tmp_path / "alive")
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    child = f"import time; file = open({str(alive)!r}, 'w'); print('child is there', flush=True); time.sleep(600)"
    parent = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it would be ignored
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", {child!r}], stdout=subprocess.PIPE, text=True)
try:
    print(child.stdout.readline(), end="", flush=True)
    child.wait()
except KeyboardInterrupt:
    print("so far", flush=True)
"""
    row = run(
        tmp_path, "python", "-I", "-S", "-c", parent, seconds=7
    )  # two interpreters begin in it, on a busy machine
    assert (row.verdict, row.said, row.failed) == ("cut off", "so far", True)
    assert "child is there" in (tmp_path / "log.txt").read_text().splitlines()
    ready, _, _ = select.select([reader], [], [], 60)
    assert ready, "the child lives on"
    assert os.read(reader, 1) == b"", "the end: nobody writes any more"
    os.close(reader)


def test_nothing_is_begun_without_time(tmp_path: Path) -> None:
    row = run(tmp_path, "python", "-c", "print(1)", ends=time.monotonic() + 3)
    assert (row.verdict, row.said, row.failed) == ("not run", "no time was left", True)


def test_a_quick_call_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps get what the ones before have left, whatever each may take by itself."""
    given: list[float] = []

    def taken(step: Step, log: object, ends: float, *, limited: bool) -> Row:
        given.append(ends - time.monotonic())
        assert limited
        return Row(step.name, "passed", 0)

    monkeypatch.setattr(gpu_calls, "run_step", taken)
    rows = gpu_calls.run_call("correctness", plan(tmp_path))
    assert [row.name for row in rows] == ["graphs", "kernels", "training", "tests", "memcheck", "racecheck"]
    assert 0 < min(given) <= max(given) <= gpu_calls.SECONDS < 600


# What failed.


def test_failures_are_listed_while_tests_run(tmp_path: Path) -> None:
    """Also those of workers and of files that cannot be imported; as ids that pytest takes again."""
    (tmp_path / "test_a.py").write_text(
        "import os, pytest\n\n"
        "@pytest.mark.parametrize('it', ['a b', 'c'])\ndef test_it(it):\n    assert it == 'c'\n\n"
        "def test_end():\n    os._exit(1)\n"
    )
    (tmp_path / "test_b.py").write_text("import no_such_library\n")
    listed = tmp_path / "failed.txt"
    base = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist"]
    base += ["-p", "tests.support.failures", "--rootdir", str(tmp_path), "-c", os.devnull, "--failures", str(listed)]
    # Plugins of other packages take a second to load, in each worker too.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def test(*arguments: str) -> list[str]:
        subprocess.run([*base, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=False)
        return sorted(listed.read_text().splitlines())

    assert test("-n", "2", "test_a.py") == ["test_a.py::test_end", "test_a.py::test_it[a b]"]
    assert test("test_b.py") == ["test_b.py"]
    test("test_a.py::test_it[a b]", "test_a.py::test_end")  # which ends in the middle, all at once
    assert listed.read_text() == "test_a.py::test_it[a b]\n"


def test_failed_tests_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_calls, "LOGS", tmp_path / "logs")
    monkeypatch.delenv("FAILED", raising=False)
    first = gpu_calls.again(plan(tmp_path))[0]
    assert isinstance(first, Row)
    assert first.failed
    assert "run correctness first" in first.said
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "failed.txt").write_text("tests/a.py::test[a b]\ntests/b.py\n")
    step = gpu_calls.again(plan(tmp_path))[0]
    assert isinstance(step, Step)
    assert step.command[-4:] == ["-n", "2", "tests/a.py::test[a b]", "tests/b.py"]
    (tmp_path / "failed.txt").write_text("")
    assert gpu_calls.again(plan(tmp_path))[0] == Row("failed tests", "passed", 0, "none had failed")
    monkeypatch.setenv("FAILED", str(tmp_path / "logs" / "failed.txt"))
    assert isinstance(gpu_calls.again(plan(tmp_path))[0], Step)


# The script, with an interpreter that does everything as told.

INTERPRETER = """#!/usr/bin/env bash
case "$*" in
  *gpu_calls*) exec {python} "$@" ;;
  *here*) exit "${{HERE:-0}}" ;;
  *" pytest "*) [ -z "${{BROKEN:-}}" ] || {{ echo tests/a.py::test >"$OUT/failed.txt"; echo "1 failed"; exit 1; }}
     : >"$OUT/failed.txt"; echo "9 passed" ;;
  *compare_gpu*) echo "# Made up" >"$OUT/made-up.md"; echo "compared $*" ;;
  *) echo "did $*" ;;
esac
"""


def script(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run of it with `python3`, and compute-sanitizer, of our own."""
    programs, out = tmp_path / "programs", tmp_path / "out"
    programs.mkdir(exist_ok=True)
    out.mkdir(exist_ok=True)
    for name, text in {
        "python3": INTERPRETER.format(python=sys.executable),
        "compute-sanitizer": "#!/bin/sh\necho '========= ERROR SUMMARY: 0 errors'\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    changes = {"PATH": path, "OUT": str(out), "PYTHON": "python3", **variables}
    return subprocess.run([SCRIPT, *arguments], env={**os.environ, **changes}, capture_output=True, text=True,
                          check=False)  # fmt: skip


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])
def test_all_is_well(tmp_path: Path, quick: bool) -> None:
    done = script(tmp_path, *(["--quick"] if quick else []))
    assert done.returncode == 0, done.stdout + done.stderr
    *_, before, rows, logs = done.stdout.rstrip().split("\n\n")
    assert before.endswith("# Made up")
    verdicts = [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in rows.strip().splitlines()[2:]]
    assert {call for call, _, _ in verdicts} == set(CALLS)
    assert {verdict for _, _, verdict in verdicts} == {"passed"}
    assert ("correctness", "racecheck", "passed") in verdicts
    assert logs == f"logs: {tmp_path / 'out'}; results: {tmp_path / 'out'}"
    assert len(list((tmp_path / "out").iterdir())) <= 8


def test_a_failure_is_in_the_exit_code(tmp_path: Path) -> None:
    """And in no other call's way; the failed tests are listed for the next call."""
    done = script(tmp_path, "--quick", "correctness", BROKEN="1")
    assert done.returncode == 1
    assert "| correctness | tests | failed |" in done.stdout
    assert "| correctness | memcheck | passed |" in done.stdout
    again = script(tmp_path, "--quick", "again")
    assert again.returncode == 0, again.stdout
    assert "tests/a.py::test" in (tmp_path / "out" / "again.txt").read_text()
    assert "compare_gpu" in (tmp_path / "out" / "again.txt").read_text()


def test_nothing_can_run(tmp_path: Path) -> None:
    done = script(tmp_path, HERE="1")
    assert done.returncode == 2
    assert "== correctness" not in done.stdout


@pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU, and the script would use it")
def test_the_script_says_what_is_missing(tmp_path: Path) -> None:
    done = script(tmp_path, "--quick", "correctness", PYTHON=sys.executable)
    assert done.returncode == 2
    assert "cannot run: " in done.stdout
    assert "\npython" in (tmp_path / "out" / "here.txt").read_text()
