"""A lock on a file, which one process holds at a time; when that ends, however it ends, the system releases it."""

from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(path: Path, problem: str) -> IO[bytes]:
    """A file that is locked until it is closed; BlockingIOError, saying `problem`, when another process holds it."""
    file = path.open("ab")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _lock_windows(file)
    except OSError as error:
        file.close()
        raise BlockingIOError(problem) from error
    return file


def _lock_windows(file: IO[bytes]) -> None:
    import msvcrt

    file.seek(0)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
