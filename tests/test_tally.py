"""Which runs must compare so and so much: those of a whole folder, and no others."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.tally import whole_folder

FOLDER = ROOT / "tests" / "hostile"


def run_of(*args: str, folder: Path = ROOT, **options: Any) -> Any:
    """A run of pytest as its configuration shows it."""
    option = SimpleNamespace(keyword="", markexpr="", collectonly=False, deselect=None, lf=False, stepwise=False)
    vars(option).update(options)
    return SimpleNamespace(invocation_params=SimpleNamespace(dir=folder), args=list(args), option=option)


@pytest.mark.parametrize(
    "run", [run_of("tests"), run_of("tests/hostile"), run_of(".", folder=FOLDER), run_of("tests", markexpr="not gpu")]
)
def test_whole(run: Any) -> None:
    assert whole_folder(run, FOLDER)


@pytest.mark.parametrize(
    "options",
    [{"markexpr": "gpu"}, {"keyword": "index"}, {"collectonly": True}, {"deselect": ["a"]}, {"lf": True},
     {"stepwise": True}],
    ids=str,
)  # fmt: skip
def test_chosen_among(options: dict[str, Any]) -> None:
    assert not whole_folder(run_of("tests", **options), FOLDER)


@pytest.mark.parametrize("arguments", [["tests/layers"], ["tests/hostile/test_index.py"]])
def test_elsewhere(arguments: list[str]) -> None:
    assert not whole_folder(run_of(*arguments), FOLDER)


def test_a_run_of_a_marker_fails_for_no_other_tests() -> None:
    """`-m gpu` leaves all of tests/hostile out: what is left passes or is skipped, and so the run is green."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    done = subprocess.run([*command, "tests/hostile", "tests/bench/test_gpu.py"], cwd=ROOT, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
