"""A process that runs out of file descriptors, at every place where it could."""

import errno
import os
from collections.abc import Callable

import pytest

resource = pytest.importorskip("resource", reason="Windows has no such limit")


def at_every_limit(act: Callable[[], object], most: int = 100) -> int:
    """Call `act` with none free, one, two, … until it succeeds; before, nothing but "too many open files" may come out.

    Returns at how many limits it failed.
    """
    act()  # imports what it needs, and fills caches
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for free in range(most):
        last = os.dup(0)  # the system gives the lowest that is free; some above it may be taken
        os.close(last)
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + free, hard))
        try:
            act()
            return free
        except OSError as error:
            assert error.errno == errno.EMFILE, error  # noqa: PT017
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    raise AssertionError(f"it needs more than {most} descriptors")
