"""aimv2_np/backends/parallel.py: every job once, errors to the caller, BLAS's setting given back."""

import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from aimv2_np import Aimv2Model
from aimv2_np.backends import parallel
from aimv2_np.backends.operation import operation, textbook
from aimv2_np.backends.parallel import cores, one_blas_thread, parts, pieces, run, usable_cores
from aimv2_np.data import tiny_model_path
from aimv2_np.kernels.cuda.cudnn import PLANS
from aimv2_np.kernels.cuda.graphs import GRAPHS


def blas_threads():
    return [lib.num_threads for lib in parallel.blas_libraries()]


@given(total=st.integers(0, 50), count=st.integers(1, 9))
def test_parts(total, count):
    slices = parts(total, count)
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(total))
    sizes = [part.stop - part.start for part in slices]
    assert len(sizes) == min(total, count)
    assert not sizes or (max(sizes) - min(sizes) <= 1 and min(sizes) > 0)


@given(total=st.integers(0, 50), size=st.integers(1, 60))
def test_pieces(total, size):
    slices = pieces(total, size)
    assert [i for piece in slices for i in range(piece.start, piece.stop)] == list(range(total))
    assert all(piece.stop - piece.start == size for piece in slices[:-1])
    assert all(0 < piece.stop - piece.start <= size for piece in slices)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_every_job_runs_once(count, workers):
    done = []
    run([lambda i=i: done.append(i) for i in range(count)], workers)
    assert sorted(done) == list(range(count))


def test_at_most_so_many_at_once():
    running, most, lock, full = 0, 0, threading.Lock(), threading.Barrier(3)

    def job():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.wait()  # three do run at once
        with lock:
            running -= 1

    run([job] * 9, 3)
    assert most == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_reaches_the_caller(workers):
    before, done = blas_threads(), []

    def job(i):
        if i == 4:
            raise ZeroDivisionError("of job 4")
        done.append(i)

    with pytest.raises(ZeroDivisionError, match="of job 4"):
        run([lambda i=i: job(i) for i in range(100)], workers)
    assert blas_threads() == before
    assert workers > 1 or done == [0, 1, 2, 3]
    run([lambda: done.append("later")], workers)
    assert done[-1] == "later"


def test_blas_has_one_thread_in_a_job_and_its_own_afterwards():
    with threadpool_limits(2, "blas"):
        seen = []
        run([lambda: seen.append((blas_threads(), cores()))] * 4, 2)
        assert seen == [([1] * len(blas_threads()), 1)] * 4
        assert set(blas_threads()) <= {2}


def test_a_job_runs_jobs_of_its_own_one_after_the_other():
    """In its own thread and in order; its error ends them and the outer job, and BLAS has its threads again."""
    with threadpool_limits(2, "blas"):
        seen = []

        def inner(i):
            with one_blas_thread():
                seen.append((i, threading.get_ident(), blas_threads()))
            if i == 2:
                raise ZeroDivisionError

        def outer():
            seen.append(threading.get_ident())
            run([lambda i=i: inner(i) for i in range(5)], 4)

        with pytest.raises(ZeroDivisionError):
            run([outer], 2)
        thread, *inside = seen
        assert inside == [(i, thread, [1] * len(blas_threads())) for i in range(3)]
        assert set(blas_threads()) <= {2}


def test_overlapping_calls_give_blas_back_once_all_are_done():
    with threadpool_limits(2, "blas"):
        inside, leave = threading.Event(), threading.Event()

        def other():
            with one_blas_thread():
                inside.set()
                leave.wait()

        thread = threading.Thread(target=other)
        thread.start()
        inside.wait()
        with pytest.raises(KeyError), one_blas_thread():
            raise KeyError
        assert set(blas_threads()) <= {1}
        leave.set()
        thread.join()
        assert set(blas_threads()) <= {2}


def test_the_number_of_slices_is_blas_own():
    with threadpool_limits(1, "blas"):
        assert cores() == 1
    with threadpool_limits(2, "blas"):
        assert 1 <= cores() <= 2
        with one_blas_thread():  # another call's setting is not the user's
            assert 1 <= cores() <= 2


def test_a_blas_without_a_switch(monkeypatch):
    """Apple's Accelerate: no slices of ours, nothing to set, and everything runs."""
    monkeypatch.setattr(parallel, "blas_libraries", list)
    assert cores() == 1
    done = []
    run([lambda: done.append(1)] * 3, 2)
    assert done == [1, 1, 1]


class OpenMP:
    """A BLAS whose setting is each thread's own, as that of an OpenBLAS built on OpenMP."""

    threading_layer = "openmp"

    def __init__(self):
        self.own = threading.local()

    @property
    def num_threads(self):
        return getattr(self.own, "count", 4)

    def set_num_threads(self, count):
        self.own.count = count


def test_a_blas_with_a_setting_for_each_thread(monkeypatch):
    lib, seen = OpenMP(), []
    monkeypatch.setattr(parallel, "blas_libraries", lambda: [lib])
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    assert cores() == 4
    together = threading.Barrier(3)
    run([lambda: together.wait() >= 0 and seen.append(lib.num_threads)] * 3, 3)
    assert seen == [1, 1, 1]
    assert cores() == 4


def test_threads_other_than_the_first_may_set_blas():
    """threadpoolctl listens only to the thread that set a limit first, here this one."""
    with threadpool_limits(2, "blas"):
        seen = []
        thread = threading.Thread(target=run, args=([lambda: seen.append(blas_threads())], 1))
        thread.start()
        thread.join()
        assert set(seen[0]) <= {1}
        assert set(blas_threads()) <= {2}


def test_jobs_see_the_callers_context():
    @operation
    def which(x):
        return "textbook"

    which.register(np.ndarray)(lambda x: "fast")
    seen = []
    with textbook():
        run([lambda: seen.append(which(np.zeros(1)))] * 6, 3)
    run([lambda: seen.append(which(np.zeros(1)))] * 6, 3)
    assert seen == ["textbook"] * 6 + ["fast"] * 6


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that does not fork")


def in_a_fork(function: Callable[[], bool]) -> int:
    """How a forked process ends: 0 where `function` is true of it, 1 where it is not, -SIGALRM where it hangs."""
    child = os.fork()
    if not child:
        signal.alarm(20)
        sound = False
        try:
            sound = function()
        finally:
            os._exit(not sound)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@forks
def test_a_process_that_is_forked_while_another_thread_computes():
    before = blas_threads()
    begun, end = threading.Event(), threading.Event()

    def compute():
        with one_blas_thread():
            begun.set()
            end.wait()

    def sound():
        return not parallel._process.calls and blas_threads() == before and blas_threads_within() == [1] * len(before)

    def blas_threads_within():
        with one_blas_thread():
            return blas_threads()

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        begun.wait()
        with parallel._process.lock:
            assert in_a_fork(sound) == 0
    finally:
        end.set()
        thread.join()
    assert blas_threads() == before


@forks
def test_a_process_that_is_forked_within_a_call_of_its_own():
    before = blas_threads()

    def sound():
        inside = blas_threads()
        block.__exit__(None, None, None)
        return inside == [1] * len(before) and blas_threads() == before

    block = one_blas_thread()
    with block:
        assert in_a_fork(sound) == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@forks
def test_processes_that_are_forked_under_load():
    model = Aimv2Model.from_pretrained(tiny_model_path())
    pixels = np.zeros((2, 3, 64, 64), np.float32)
    wanted = model.get_image_features(pixels)
    end = threading.Event()

    def load():
        while not end.is_set():
            model.get_image_features(pixels)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        codes = [in_a_fork(lambda: np.allclose(model.get_image_features(pixels), wanted)) for _ in range(12)]
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 12


@forks
@pytest.mark.parametrize("cache", [GRAPHS, PLANS], ids=["graphs", "cudnn"])
def test_caches_of_the_gpu_are_not_locked_in_a_forked_process(cache):
    with cache._lock:
        assert in_a_fork(lambda: cache._lock.acquire(timeout=10)) == 0


@pytest.mark.parametrize(("limit", "expected"), [("max 100000", 8), ("150000 100000", 1), ("400000 100000", 4)])
def test_a_containers_quota(monkeypatch, tmp_path, limit, expected):
    """A container may have the time of fewer cores than it sees."""
    (tmp_path / "cpu.max").write_text(limit + "\n", encoding="ascii")
    monkeypatch.setattr(parallel, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    assert usable_cores() == expected


def test_cores_are_those_that_the_system_allows(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
