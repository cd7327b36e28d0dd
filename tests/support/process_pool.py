"""An engine without Ray or Dask: processes of this machine that run in another folder."""

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

PROCESSES = 2


class Pool:
    """Counts how many tasks are on their way, and may change them."""

    def __init__(self, executor, change):
        self.executor, self.change = executor, change
        self.submitted = self.taken = self.most = 0

    def submit(self, function, argument):
        self.submitted += 1
        self.most = max(self.most, self.submitted - self.taken)
        return Counted(self, self.executor.submit(function, self.change(argument)))

    def processes(self):
        return PROCESSES


class Counted:
    def __init__(self, pool, future):
        self.pool, self.future = pool, future

    def result(self):
        self.pool.taken += 1
        return self.future.result()

    def cancel(self):
        self.future.cancel()


def engine_of(made, change=lambda task: task):
    """What opens such an engine; each that is opened is added to `made`."""

    @contextmanager
    def opened(address, *, gpu):
        with ProcessPoolExecutor(PROCESSES, get_context("spawn"), os.chdir, ("/",)) as executor:
            made.append(Pool(executor, change))
            yield made[-1]

    return "concurrent.futures", opened
