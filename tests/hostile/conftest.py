"""Fuzzing of everything that reads a file. The watched process needs Linux: elsewhere the folder is left out."""

import sys
from pathlib import Path

import pytest

from tests.support.tally import whole_folder

FOLDER = Path(__file__).parent
CASES_WANTED = 2000  # over the whole folder

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.support.hostile import watch

    @pytest.fixture(autouse=True, scope="session")
    def _watched_process():
        yield
        watch.process.clean()

    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        for item in items:
            if FOLDER in item.path.parents:  # a failing case may be a megabyte; that it is shown is the point
                item.add_marker(pytest.mark.filterwarnings("ignore:Generating overly large repr"))

    def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
        config = session.config
        if hasattr(config, "workeroutput"):  # of pytest-xdist: the figures go to the process that started it
            config.workeroutput["hostile"] = {kind: vars(tally) for kind, tally in watch.tallies.items()}
        elif whole_folder(config, FOLDER) and exitstatus == 0 and _cases() < CASES_WANTED:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(node: object, error: object) -> None:
        for kind, tally in getattr(node, "workeroutput", {}).get("hostile", {}).items():
            watch.tallies.setdefault(kind, watch.Tally()).add(watch.Tally(**tally))

    def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        for kind, tally in sorted(watch.tallies.items()):
            terminalreporter.write_line(
                f"{kind:26} {tally.cases:7,} cases, {tally.refused:7,} refused, at most {tally.seconds:.2f} s "
                f"and {tally.bytes / 1e6:4.0f} MB"
            )
        line = f"hostile cases: {_cases():,}"
        if whole_folder(config, FOLDER) and _cases() < CASES_WANTED:
            line += f"; a run of the whole folder fails with fewer than {CASES_WANTED:,}"
        terminalreporter.write_line(line)


def _cases() -> int:
    return sum(tally.cases for tally in watch.tallies.values())
