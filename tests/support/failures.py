"""The ids of the tests that failed, in a file from the moment they do: a run that is cut off leaves its list.

python -m pytest -p tests.support.failures --failures failed.txt tests
"""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--failures", metavar="FILE", type=Path, help="write the ids of failed tests, one a line")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.failures and not hasattr(config, "workerinput"):  # workers of pytest-xdist report to their master
        config.option.failures.write_text("", encoding="utf-8")
        config.pluginmanager.register(Failures(config.option.failures))


class Failures:
    """Appends to `path`; a test that fails in two phases, or in several workers, is in it once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] = set()

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed and report.nodeid not in self._known:
            self._known.add(report.nodeid)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(report.nodeid + "\n")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)
