"""A process that keeps one core busy until its input ends: `python -m tests.benchmarks.neighbour [CORE]`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from aimv2_np.bench import cores
from aimv2_np.bench.talk import Worker, module_command, speak


@contextmanager
def busy_core(threads: int) -> Iterator[None]:
    """In the `with` block the first of the cores that `cores.choose(threads)` names has something else to do, too.

    Some core, where the system does not let a process choose.
    """
    chosen = cores.choose(threads)[:1] if hasattr(os, "sched_setaffinity") else []
    with Worker(module_command("tests.benchmarks.neighbour", *map(str, chosen))) as worker:
        worker.answer()  # once it is there
        yield


def _until_nobody_asks() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if chosen := {int(core) for core in sys.argv[1:]}:
        os.sched_setaffinity(0, chosen)
    Thread(target=_until_nobody_asks, daemon=True).start()
    speak("busy")
    while True:
        pass
