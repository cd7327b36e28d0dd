"""All cores on one call: each works on a slice of its own, on a thread of its own, with BLAS at one thread.

That beats BLAS's own threads, which meet at the end of every product. It also makes results repeatable, since BLAS
rounds differently with another number of threads.

How many slices is BLAS's own setting: what `threadpoolctl.threadpool_limits` or OPENBLAS_NUM_THREADS allow it. Where
BLAS cannot be controlled (Apple's Accelerate), there is one slice, and BLAS does as it pleases.

A process that is forked while others compute has none of their threads: locks that they held are made anew there, and
BLAS gets back the threads that they had taken from it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from pathlib import Path
from threading import Lock, Thread, get_ident
from typing import Any

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.context import having

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of processor time: "microseconds period", or "max period"


@cache
def blas_libraries() -> list[Any]:
    """threadpoolctl's controllers of the BLAS that NumPy calls; none where it has no switch for threads."""
    from threadpoolctl import ThreadpoolController

    found = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]
    home = Path(np.__file__).parent
    # PyPI's NumPy brings its own BLAS, in numpy.libs or numpy/.dylibs; others in the process are not its business.
    return [lib for lib in found if lib.filepath.startswith(str(home))] or found


def _of_each_thread(lib: Any) -> bool:
    """Whether its setting is each thread's own, as OpenMP's is, and not the process's."""
    return getattr(lib, "threading_layer", None) == "openmp"


def _set(lib: Any, count: int) -> None:
    """Set its threads, whichever thread of ours did so last: threadpoolctl listens to the first one only."""
    release = getattr(lib, "clear_controlling_thread", lambda force: None)
    release(force=True)
    lib.set_num_threads(count)
    release(force=True)


def when_forked(function: Callable[[], object]) -> None:
    """Call `function` in every process that is forked from this one, before anything else runs there."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=function)


class _OneThread:
    """The process's setting, shared by the calls that are running: the first lowers it, the last sets it back."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.calls: list[int] = []  # the threads that they run on
        self.before: list[tuple[Any, int]] = []

    def allowed(self) -> list[int]:
        with self.lock:
            own = [lib.num_threads for lib in blas_libraries() if _of_each_thread(lib)]
            return own + [count for _, count in (self.before if self.calls else self._now())]

    def enter(self) -> None:
        with self.lock:
            if not self.calls:
                self.before = self._now()
                for lib, _ in self.before:
                    _set(lib, 1)
            self.calls.append(get_ident())

    def leave(self) -> None:
        with self.lock:
            self.calls.remove(get_ident())
            self._restore()

    def forked(self) -> None:
        """Only the thread that forked lives on in the child."""
        self.lock = Lock()
        if self.calls:
            self.calls = [thread for thread in self.calls if thread == get_ident()]
            self._restore()

    def _restore(self) -> None:
        if not self.calls:
            for lib, count in self.before:
                _set(lib, count)

    def _now(self) -> list[tuple[Any, int]]:
        return [(lib, lib.num_threads) for lib in blas_libraries() if not _of_each_thread(lib)]


_process = _OneThread()
when_forked(_process.forked)
_in_job: ContextVar[bool] = ContextVar("in_job", default=False)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS at one thread, here and while any thread of this process is inside such a block; then what it was before."""
    if _in_job.get():  # whose thread is in such a block already
        yield
        return
    own = [(lib, lib.num_threads) for lib in blas_libraries() if _of_each_thread(lib)]
    for lib, _ in own:
        _set(lib, 1)
    _process.enter()
    try:
        yield
    finally:
        _process.leave()
        for lib, count in own:
            _set(lib, count)


def cores() -> int:
    """How many slices to work on at once: the threads that BLAS is allowed, at most one per core of this process.

    One inside a job of `run`, whose neighbours have the other cores, and where BLAS cannot be kept to one thread.
    """
    return threads() if blas_libraries() else 1


def threads() -> int:
    """How many threads a call may have: as BLAS is allowed, at most one per core of this process; one inside a job."""
    return 1 if _in_job.get() else min([*_process.allowed(), usable_cores()])


def usable_cores() -> int:
    """The cores that this process may run on, and has the time of where a container's quota says less."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, min(usable, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limits here, or "max"
        return usable


def run(jobs: Sequence[Callable[[], object]], workers: int) -> None:
    """Run all jobs, at most `workers` at a time, with BLAS at one thread; this thread is one of the workers.

    Inside a job they run one after the other. After an exception no further job is begun; it is raised here once the
    jobs that were running have ended.
    """
    if _in_job.get():
        for job in jobs:
            job()
        return
    waiting, lock = iter(jobs), Lock()
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with own_arithmetic(), one_blas_thread(), having(_in_job, True):
                while not problems:
                    with lock:
                        job = next(waiting, None)
                    if job is None:
                        return
                    job()
        except BaseException as error:  # even Ctrl-C, for which the other threads must end first
            problems.append(error)

    helpers = [Thread(target=copy_context().run, args=(work,)) for _ in range(min(workers, len(jobs)) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if problems:
        raise problems[0]


def parts(total: int, count: int) -> list[slice]:
    """`total` things in `count` slices, as equal as can be; those that would be empty are left out."""
    count = min(count, total)
    return [slice(total * i // count, total * (i + 1) // count) for i in range(count)]


def pieces(total: int, size: int) -> list[slice]:
    """`total` things in slices of `size`, and what is left over."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]
