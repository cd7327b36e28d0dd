"""Keeps the backtrace of a library written in Rust off standard error: the exception that follows says it in a line.

Rust writes it to descriptor 2 itself, before Python hears of the panic, and has no switch that Python could reach.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

PANIC = b"\nthread '"  # how a panic begins, behind an empty line
STDERR = 2

_lock = threading.Lock()
_kept: list[int] = []  # the real standard error, while it is held back


@contextmanager
def without_panics() -> Iterator[None]:
    """Hold standard error back, for as little as it takes; then pass on what was written to it, but for a panic.

    Where standard error is closed there is nothing to hold back; where no file can be made it is left as it is. One
    thread at a time.
    """
    with _lock:
        try:
            if sys.__stderr__ is None:  # closed when Python began: the descriptor may be another file's by now
                raise OSError
            file = _file()
        except OSError:
            yield
            return
        panicked = False
        with file as held:
            try:
                _kept.append(os.dup(STDERR))
            except OSError:
                yield
                return
            os.dup2(held.fileno(), STDERR)
            try:
                yield
            except BaseException as error:
                panicked = type(error).__name__ == "PanicException"
                raise
            finally:
                _give_back()
                held.seek(0)
                text = b"\n" + held.read()
                os.write(STDERR, (text.partition(PANIC)[0] if panicked else text)[1:])


def _file() -> IO[bytes]:
    """A file that is nowhere but in memory, where the system has such; a disk may be full, or not to be written to."""
    return os.fdopen(os.memfd_create("stderr"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def _give_back() -> None:
    os.dup2(_kept[0], STDERR)
    os.close(_kept.pop())


def _in_child() -> None:
    """A process that another thread forked meanwhile has its standard error, and a lock that somebody opens."""
    global _lock
    _lock = threading.Lock()
    if _kept:
        _give_back()


if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(after_in_child=_in_child)
