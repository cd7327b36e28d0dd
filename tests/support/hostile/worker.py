"""The watched process: it reads one case after another with `aimv2_np`, and says what came of it and what it cost.

Started by `watch.py`. Cases come on stdin, reports go to what was stdout: pickles behind four bytes of length. More
than `CPU_SECONDS` of processor time ends the process with SIGPROF; so would a crash, and `watch.py` tells which it was.
"""

import ctypes
import gc
import os
import pickle
import resource
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.support.hostile.readers import DOCUMENTED, READERS, warm_up

CPU_SECONDS = 1.0
ADDRESS_SPACE = 4 * 2**30  # beyond what the process has: a request for more fails, and the machine is not swapped out
KILOBYTE = 1024

# What may be read besides the case's own folder: the installation.
INSTALLATION = tuple(
    {str(Path(folder).resolve()) for folder in (sys.prefix, sys.base_prefix, Path(__file__).parents[3] / "aimv2_np")}
    | {"/usr/lib", "/usr/share", "/proc/self", "/dev/null"}
)
# Audit events that touch files, with the places of the paths among their arguments; and those that must never happen.
TOUCHING = {"open": (0,), "os.listdir": (0,), "os.scandir": (0,), "glob.glob": (0,)}
FORBIDDEN = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.startfile", "os.kill", "os.chdir",
    "subprocess.Popen", "shutil.", "tempfile.", "socket.", "pickle.find_class", "ctypes.dlopen", "exec",
)  # fmt: skip


class Guard:
    """What the case in hand has touched that it should not have."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.touched: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        folder, self.folder = self.folder, None  # what the check itself opens is nobody's business
        try:
            self._check(event, arguments, folder)
        finally:
            self.folder = folder

    def _check(self, event: str, arguments: tuple[Any, ...], folder: str) -> None:
        if event in TOUCHING:
            path = arguments[0]
            writes = event == "open" and (
                any(letter in (arguments[1] or "") for letter in "wax+")
                or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            )
            if isinstance(path, int) or path is None:
                return
            real = os.path.realpath(os.fsdecode(path))
            inside = _below(real, folder)
            if writes or not (inside or any(_below(real, place) for place in INSTALLATION)):
                self.touched.append(f"{event} {real!r}{' to write' if writes else ''}")
        elif event.startswith(FORBIDDEN) and not (event == "exec" and _of_the_installation(arguments[0])):
            self.touched.append(f"{event} {arguments!r:.200}")


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _of_the_installation(code: Any) -> bool:
    """Whether code that is executed is that of a module being imported, or made by the standard library."""
    name = getattr(code, "co_filename", "")
    return name.startswith(("<frozen", "<string>")) or any(_below(name, place) for place in INSTALLATION)


def _resident() -> tuple[int, int]:
    """Resident memory now and at most, in bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(fields[key].split()[0]) * KILOBYTE for key in ("VmRSS", "VmHWM"))
    return now, most


def _forget_peak() -> None:
    """Peaks count from now on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not permitted everywhere; then the largest peak so far counts, which is never too little
        return


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _run(guard: Guard, reader: str, folder: str) -> dict[str, Any]:
    """The report on one case."""
    report: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's, about numbers that nobody checked
        guard.touched, guard.folder = [], folder
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            report["value"] = READERS[reader](Path(folder))
        except BaseException as error:
            kind = type(error)
            report["error"], report["message"] = kind.__name__, str(error)
            report["documented"] = kind in DOCUMENTED[reader]
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            guard.folder = None
    report["touched"] = guard.touched
    return report


def main() -> None:
    cases, reports = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    warm_up()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)  # glibc's: gives back what earlier cases have freed
    guard = Guard()
    sys.addaudithook(guard)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _forget_peak()
    start, _ = _resident()
    while head := cases.read(4):
        reader, folder = pickle.loads(cases.read(*struct.unpack(">I", head)))
        trim(0)
        _forget_peak()
        before = _seconds()
        report = _run(guard, reader, folder)
        report["seconds"] = _seconds() - before
        report["bytes"] = _resident()[1] - start
        text = pickle.dumps(report)
        reports.write(struct.pack(">I", len(text)) + text)
        reports.flush()


if __name__ == "__main__":
    main()
