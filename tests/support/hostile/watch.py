"""Reading hostile files in a process that is watched: a hang, a crash or a memory bomb is a failing test, no more.

`read("config", {"config.json": b"..."})` writes the files into a fresh folder, lets the watched process read it, and
asserts what holds for every file whatsoever: a result or a documented exception with a message that can be shown to
people, within a second of processor time and 200 MB, without touching a file outside of the folder.
"""

import atexit
import os
import pickle
import select
import shutil
import struct
import subprocess
import sys
import tempfile
from base64 import b85encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any
from zlib import compress

ROOT = Path(__file__).parents[3]
WALL_SECONDS = 60.0  # of a machine that is busy with other things; the second that counts is of processor time
MAX_BYTES = 200 * 10**6
MAX_MESSAGE = 4000  # three lists of ten names of tensors each; characters, the folder's own name not counted
AGAIN = 2  # times that a case is read once more which took too long
TOO_LONG = "took more than a second of processor time"
CASES_PER_PROCESS = 2000
THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Link:
    """A symbolic link in place of a file."""

    target: str


Files = Mapping[str, bytes | Link]


@dataclass(frozen=True)
class Outcome:
    """What came of a case: a value, or the name and the message of a documented exception."""

    value: Any = None
    error: str | None = None
    message: str = ""


@dataclass
class Tally:
    """The figures of one kind of input."""

    cases: int = 0
    refused: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def add(self, other: "Tally") -> None:
        self.cases += other.cases
        self.refused += other.refused
        self.seconds = max(self.seconds, other.seconds)
        self.bytes = max(self.bytes, other.bytes)


tallies: dict[str, Tally] = {}


@dataclass
class Process:
    """The watched process, started when it is first needed and again after it has ended."""

    child: "subprocess.Popen[bytes] | None" = None
    served: int = 0
    place: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="hostile-")).resolve())

    def ask(self, reader: str, folder: Path) -> dict[str, Any]:
        """The report on a case; {"died": how} when the process did not live to give one."""
        if self.child is None or self.served >= CASES_PER_PROCESS:
            self._start()
        assert self.child is not None
        assert self.child.stdin is not None
        self.served += 1
        text = pickle.dumps((reader, str(folder)))
        try:
            self.child.stdin.write(struct.pack(">I", len(text)) + text)
            self.child.stdin.flush()
            length = struct.unpack(">I", self._take(4))[0]
            report: dict[str, Any] = pickle.loads(self._take(length))
        except (EOFError, BrokenPipeError):
            how = self.stop(wait=True)
            return {"died": how}
        except TimeoutError:
            self.stop()
            return {"died": f"did not answer for {WALL_SECONDS:g} s"}
        return report

    def _start(self) -> None:
        self.stop()
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, **THREADS, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
        with (self.place / "stderr").open("wb") as stderr:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "tests.support.hostile.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, env=environment,
            )  # fmt: skip
        self.served = 0

    def _take(self, count: int) -> bytes:
        assert self.child is not None
        assert self.child.stdout is not None
        pipe, taken = self.child.stdout.fileno(), bytearray()
        while len(taken) < count:
            if not select.select([pipe], [], [], WALL_SECONDS)[0]:
                raise TimeoutError
            piece = os.read(pipe, min(count - len(taken), 2**20))
            if not piece:
                raise EOFError
            taken += piece
        return bytes(taken)

    def stop(self, wait: bool = False) -> str:
        """End the process, or with `wait` see how it ended by itself."""
        child, self.child = self.child, None
        if child is None:
            return ""
        if not wait:
            child.kill()
        code = child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # what was never read of a case
                    continue
        if code == -Signals.SIGPROF:
            return TOO_LONG
        ending = f"signal {Signals(-code).name}" if code < 0 else f"exit status {code}"
        return f"ended by {ending}; its last words: {(self.place / 'stderr').read_bytes()[-2000:]!r}"

    def clean(self) -> None:
        self.stop()
        shutil.rmtree(self.place, ignore_errors=True)


process = Process()
atexit.register(process.clean)


def read(reader: str, files: Files, *, outside: Files | None = None, kind: str | None = None) -> Outcome:
    """What reading a folder of these files comes to; AssertionError, with their bytes, when the property is broken.

    Args:
        reader: which of `readers.READERS`.
        files: name → content; names may have folders in them.
        outside: files beside the folder, for links to lead to: "../secret".
        kind: under which name the case is counted; that of the reader by default.
    """
    place = process.place / "case"
    shutil.rmtree(place, ignore_errors=True)
    folder = place / "folder"
    folder.mkdir(parents=True)
    _write(folder, files)
    _write(place, outside or {})
    report = process.ask(reader, folder)
    # Processor time grows by half and more while others use the other half of a core: once more, then, to be sure.
    for _ in range(AGAIN):
        if report.get("died") == TOO_LONG:
            report = process.ask(reader, folder)
    faults = _faults(report, str(place))
    if faults:
        process.stop()
        raise AssertionError("\n".join([*faults, f"read as {reader}, the folder holds", *_shown(files)]))
    tally = Tally(1, int("error" in report), report["seconds"], report["bytes"])
    tallies.setdefault(kind or reader, Tally()).add(tally)
    return Outcome(report.get("value"), report.get("error"), report.get("message", ""))


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target)
        else:
            path.write_bytes(content)


def _faults(report: Mapping[str, Any], place: str) -> list[str]:
    if "died" in report:
        return [f"the process {report['died']}"]
    faults = [f"it touched what is not its own: {what}" for what in report["touched"]]
    if report["bytes"] > MAX_BYTES:
        faults.append(f"it took {report['bytes'] / 1e6:.0f} MB of memory")
    if "error" in report:
        message = report["message"].replace(place, "")
        if not report["documented"]:
            faults.append(f"it raised {report['error']}, which is not documented: {message!r:.1000}")
        if len(message) > MAX_MESSAGE:
            faults.append(f"its message has {len(message)} characters: {message[:MAX_MESSAGE]!r}...")
        if not message.isprintable():
            faults.append(f"its message is not fit to be shown: {message!r:.1000}")
    return faults


def _shown(files: Files) -> list[str]:
    """The files in a form that can be pasted into a test."""
    lines = []
    for name, content in files.items():
        if isinstance(content, bytes) and len(content) > 4096:
            lines.append(f"  {name}: zlib.decompress(base64.b85decode({b85encode(compress(content, 9))!r}))")
        else:
            lines.append(f"  {name}: {content!r}")
    return lines
