"""A lock on a file, which one process holds at a time; when that ends, however it ends, the system releases it.

A forked process shares the files that are open, and with them the lock: it closes its own at once, or the lock would be
held as long as it lives.
"""

import errno
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

from aimv2_np.backends.parallel import when_forked

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


# How systems say that somebody else has the lock; whatever else they say is wrong with the machine.
TAKEN = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_held: WeakSet[Any] = WeakSet()


def _forked() -> None:
    for file in list(_held):
        file.close()


when_forked(_forked)


def lock(path: Path, problem: str) -> IO[bytes]:
    """A file that is locked until it is closed; BlockingIOError, saying `problem`, when another process holds it."""
    file = path.open("ab", buffering=0)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _lock_windows(file)
    except OSError as error:
        file.close()
        if error.errno not in TAKEN:
            error.filename = str(path)
            raise
        raise BlockingIOError(problem) from error
    _held.add(file)
    return file


def _lock_windows(file: IO[bytes]) -> None:
    import msvcrt

    file.seek(0)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
