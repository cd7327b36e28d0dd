"""The notebooks: finding them, their exercises, and executing them as a reader with no network would."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "notebooks"


def number(name: str) -> str:
    """The number that a notebook's file name begins with."""
    return name.partition("-")[0]


PATHS = sorted(FOLDER.glob("[0-9]*-*.ipynb"), key=lambda path: int(number(path.name)))
MACHINE = "machine"  # the tag of cells whose output depends on where they run

_MISSING = [name for name in ("ipykernel", "matplotlib", "nbclient", "nbformat") if not find_spec(name)]
NEEDED = pytest.mark.skipif(bool(_MISSING), reason=f"needs {', '.join(_MISSING)}: pip install -e '.[notebooks]'")

# Both are what `run_notebooks` writes: nothing of the machine that executed them.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SOLUTION = re.compile(r"<details>(.*?)</details>", re.DOTALL)
# The question without a solution: the page gives the number, tests/notebooks/open_exercises how one comes by it.
OPEN_EXERCISE = re.compile(r"^\*\*Open exercise\.\*\* .*? The answer: \*\*([^*]+)\*\*\.$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Runs first in every kernel: whoever asks for an address gets the error of a machine without a network.
OFFLINE = """
def refuse(event, args):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(args[1], tuple)):
        raise OSError("there is no network")
import sys; sys.addaudithook(refuse); del refuse, sys
"""


def solutions(notebook: Any) -> list[str]:
    """The code of every solution, in order; one text for each."""
    folded = [text for cell in notebook["cells"] for text in SOLUTION.findall(source(cell))]
    return ["\n".join(PYTHON.findall(text)) for text in folded]


def open_exercise(path: Path, notebook: Any) -> str:
    """Code that works out the answer of a notebook's open exercise, and asserts that the page gives it."""
    (said,) = OPEN_EXERCISE.findall(source(notebook["cells"][-1]))
    work = (ROOT / "tests" / "notebooks" / "open_exercises" / f"{number(path.name)}.py").read_text(encoding="utf-8")
    return f"{work}\nassert answer == {said!r}, answer\n"


def source(cell: Any) -> str:
    """A cell's text, which files hold in lines and nbformat in one piece."""
    return "".join(cell["source"])


def execute(notebook: Any) -> list[str]:
    """Execute all cells of a notebook in place, in a fresh kernel and an empty folder, offline.

    Returns the files that it left behind. Raises nbclient's CellExecutionError at the first cell that fails.
    """
    from nbclient import NotebookClient

    with _surroundings() as folder:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=600,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            extra_arguments=[
                "--log-level=ERROR",
                "--HistoryManager.enabled=False",
                f"--IPKernelApp.exec_lines={OFFLINE}",
            ],
        )
        client.execute()
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@contextmanager
def _surroundings() -> Iterator[Path]:
    """An empty folder to work in, and an environment in which the reader's own settings do not show."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as settings:
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "IPYTHONDIR": settings,
            "JUPYTER_CONFIG_DIR": settings,
            "JUPYTER_RUNTIME_DIR": settings,
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("MPLBACKEND", None)  # the kernel's own, which puts figures into the notebook
        with patch.dict(os.environ, environment, clear=True):
            yield Path(work)


def outputs(cell: Any) -> list[tuple[str, str]]:
    """What a code cell shows, as (stream or kinds of data, text): the same everywhere, unlike a figure's pixels."""
    shown = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            shown.append((output["name"], "".join(output["text"])))
        else:
            shown.append((" ".join(sorted(output["data"])), "".join(output["data"].get("text/plain", ""))))
    return shown
