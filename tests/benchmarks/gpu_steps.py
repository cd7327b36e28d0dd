"""One step of a call: a process with its children, ended when its time is over, and what became of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which
from typing import TextIO

from tests.support.paths import ROOT

LEAST = 15.0  # seconds, with fewer of which nothing is begun
GRACE = 10.0  # for a process to say how far it came, when it is interrupted
SHOWN = {True: 6, False: 40}  # last lines of a step on the screen, when it passed and when not
CUDA = Path("/usr/local/cuda/bin")  # where toolkits lie that are not in PATH


@dataclass(frozen=True)
class Step:
    """A command, whose "python" is the interpreter of PYTHON, and the seconds it may take where time is limited."""

    name: str
    command: Sequence[str]
    seconds: float = 60.0


@dataclass(frozen=True)
class Row:
    """What became of a step: "passed", "failed", "cut off" or "not run"."""

    name: str
    verdict: str
    seconds: float
    said: str = ""
    call: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is anything but passed."""
        return self.verdict != "passed"

    def of(self, call: str) -> "Row":
        """The same, as a step of `call`."""
        return replace(self, call=call)

    def cells(self) -> tuple[str, ...]:
        """For a table."""
        return self.call, self.name, self.verdict, f"{self.seconds:.0f}", self.said.replace("|", "/")


def run_step(step: Step, log: TextIO, ends: float = float("inf"), *, limited: bool = False) -> Row:
    """Run it, append what it says to `log`, show the last lines of that.

    Args:
        step: to run.
        log: a file of text that is written to.
        ends: when everything must be over, by `time.monotonic`.
        limited: whether the step's own seconds count.
    """
    print(f"\n== {step.name}", flush=True)
    began = time.monotonic()
    left = min(step.seconds if limited else float("inf"), ends - began) - GRACE
    if left < LEAST - GRACE:
        return _tell(Row(step.name, "not run", 0, "no time was left"))
    log.write(f"\n== {step.name}: {' '.join(step.command)}\n")
    log.flush()
    first = Path(log.name).stat().st_size
    try:
        code = _run(step.command, log, left)
    except FileNotFoundError as error:
        return _tell(Row(step.name, "not run", 0, f"{error.filename} is not installed"))
    verdict = "cut off" if code is None else "failed" if code else "passed"
    with Path(log.name).open("rb") as file:
        file.seek(first)
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    for line in lines[-SHOWN[verdict == "passed"] :]:
        print(line[:400])
    return _tell(Row(step.name, verdict, time.monotonic() - began, lines[-1].strip()[:100] if lines else ""))


def _tell(row: Row) -> Row:
    print(f"-- {row.name}: {row.verdict}, {row.seconds:.0f} s", flush=True)
    return row


def _run(command: Sequence[str], log: TextIO, seconds: float) -> int | None:
    """Its exit code; None where it was ended, with everything it had started, after so many seconds."""
    process = subprocess.Popen(
        [_program(command[0]), *map(_argument, command[1:])], stdin=subprocess.DEVNULL, stdout=log,
        stderr=subprocess.STDOUT, cwd=ROOT, process_group=0,
    )  # fmt: skip
    try:
        return process.wait(None if seconds == float("inf") else seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # pytest then says what it has found
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE / 2)
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _program(name: str) -> str:
    if name == "python":
        return os.environ.get("PYTHON", sys.executable)
    return str(CUDA / name) if not which(name) and (CUDA / name).exists() else name


def _argument(argument: str) -> str:
    return os.environ.get("PYTHON", sys.executable) if argument == "python" else argument
