"""The oracle suite compares with PyTorch and Transformers. Where they are missing it is skipped, and says why.

`--require-oracle` makes their absence an error: so that a gate cannot pass without having asked the oracle.
"""

import warnings
from pathlib import Path
from typing import NoReturn

import pytest

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say while being imported is not about this project
        import torch
        import transformers
        from transformers.models.aimv2 import modeling_aimv2  # noqa: F401
except ImportError as error:
    MISSING: str | None = f"tests/oracle compares with Transformers: pip install -e '.[oracle,test]' ({error})"
else:
    from tests.support import oracle

    MISSING = None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)  # the models are tiny: starting a second thread costs more than it computes

from tests.support.tally import whole_folder

FOLDER = Path(__file__).parent
EXAMPLES_WANTED = 500  # of random models and inputs, over the whole folder


class MissingOracle(pytest.Module):
    """A file of tests that is not imported, because what it imports is missing."""

    def collect(self) -> NoReturn:
        assert MISSING is not None
        if self.config.getoption("--require-oracle"):
            raise self.CollectError(f"--require-oracle: {MISSING}")
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return MissingOracle.from_parent(parent, path=module_path) if MISSING else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"))
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if MISSING:
        return
    if hasattr(config, "workeroutput"):  # a worker of pytest-xdist: the count goes to the process that started it
        config.workeroutput["oracle_examples"] = oracle.examples_run
    elif whole_folder(config, FOLDER) and exitstatus == 0 and oracle.examples_run < EXAMPLES_WANTED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    if MISSING:
        return
    oracle.examples_run += getattr(node, "workeroutput", {}).get("oracle_examples", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if MISSING:
        return
    line = f"oracle examples: {oracle.examples_run}"
    if whole_folder(config, FOLDER) and oracle.examples_run < EXAMPLES_WANTED:
        line += f"; a run of the whole folder fails with fewer than {EXAMPLES_WANTED}"
    terminalreporter.write_line(line)
