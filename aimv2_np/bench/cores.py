"""Running on so many cores and no more: BLAS's threads, and on Linux the cores themselves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aimv2_np.backends.parallel import usable_cores

VARIABLES = (
    "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS",
)  # fmt: skip
TOPOLOGY = Path("/sys/devices/system/cpu")


def check_threads(threads: int) -> None:
    """ValueError unless this process may use so many cores."""
    if not 1 <= threads <= usable_cores():
        raise ValueError(f"threads is {threads}; expected 1 to {usable_cores()}, the cores that this process may use")


def variables(threads: int) -> dict[str, str]:
    """Environment of a process whose matrix library is to use so many threads, whatever the user's own says."""
    return dict.fromkeys(VARIABLES, str(threads))


def choose(threads: int) -> list[int]:
    """Numbers of that many cores of those this process may use, two threads of one core only when there is no other."""
    allowed = sorted(os.sched_getaffinity(0))
    first = {_siblings(core): core for core in reversed(allowed)}  # of the threads of each physical core
    return sorted(allowed, key=lambda core: core not in first.values())[:threads]


@contextmanager
def on_cores(threads: int) -> Iterator[None]:
    """Processes started inside the block may use that many cores. Where the system has no such bounds, nothing happens.

    Raises ValueError for more threads than there are cores.
    """
    check_threads(threads)
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, choose(threads))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _siblings(core: int) -> str:
    """What names the physical core: the list of its threads."""
    try:
        return (TOPOLOGY / f"cpu{core}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(core)
