"""What a test run compared, how often and how closely: the figures of docs/faithfulness.md.

    python -m pytest -p tests.support.tally --tally docs/faithfulness.json -n 2 tests
    python -m tests.tools.write_faithfulness

A test that compares with another implementation calls `compared` after its assertion. Counting costs nothing worth
mentioning and always happens; only with this module as a plugin is anything written.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NDArray = np.ndarray[Any, np.dtype[Any]]
VERSIONS = ("aimv2-np", "numpy", "pillow", "tokenizers", "torch", "transformers")


@dataclass
class Tally:
    """Of one subject: random models or inputs, arrays compared, and the largest errors among them."""

    cases: int = 0
    arrays: int = 0
    largest: float = 0.0  # relative error
    of_allowed: float = 0.0  # the largest error as a share of what its test allows

    def add(self, other: "Tally") -> None:
        self.cases += other.cases
        self.arrays += other.arrays
        self.largest = max(self.largest, other.largest)
        self.of_allowed = max(self.of_allowed, other.of_allowed)


TALLIES: dict[str, Tally] = {}


def compared(subject: str, errors: Mapping[str, float] | float, allowed: float = 0.0) -> None:
    """One case: the relative error of each array compared, all of which passed with `allowed` (0: equal bits)."""
    values = list(errors.values()) if isinstance(errors, Mapping) else [errors]
    largest, allowed = float(max(values, default=0.0)), float(allowed)
    assert largest <= allowed, f"{subject}: {largest:.3g} of {allowed:.3g} should not have passed"
    one = Tally(1, len(values), largest, largest / allowed if allowed else 0.0)
    TALLIES.setdefault(subject, Tally()).add(one)


def difference(value: NDArray, expected: NDArray) -> float:
    """The largest difference relative to the largest number of `expected`, at least one."""
    if not expected.size:
        return 0.0
    wide = np.asarray(expected, np.float64)
    return float(np.abs(value - wide).max() / max(1.0, np.abs(wide).max()))


def whole_folder(config: pytest.Config, folder: Path) -> bool:
    """Whether every test of `folder` that can run here was asked for, so that how much they compared may be demanded.

    Not so where a name, a marker, an id or the latest failures choose among them. `-m "not gpu"` leaves out what is
    skipped without a GPU anyway.
    """
    paths = [Path(config.invocation_params.dir, argument).resolve() for argument in config.args]
    chosen = ("keyword", "collectonly", "deselect", "lf", "stepwise")
    return (
        any(path == folder or path in folder.parents for path in paths)
        and config.option.markexpr in ("", "not gpu")
        and not any(getattr(config.option, name, None) for name in chosen)
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tally", metavar="FILE", type=Path, help="write what was compared, how often and how closely")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if hasattr(config, "workeroutput"):  # a worker of pytest-xdist
        config.workeroutput["tallies"] = {name: asdict(tally) for name, tally in TALLIES.items()}
    elif config.option.tally and exitstatus == 0:
        config.option.tally.write_text(json.dumps(report(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    for name, values in getattr(node, "workeroutput", {}).get("tallies", {}).items():
        TALLIES.setdefault(name, Tally()).add(Tally(**values))


def report() -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONS},
        "architecture": platform.machine(),
        "compared": {name: asdict(TALLIES[name]) for name in sorted(TALLIES)},
    }
