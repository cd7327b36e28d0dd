import os

import pytest

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench import cores

AFFINITY = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to cores")


@AFFINITY
def test_processes_get_so_many_cores_and_this_one_keeps_its_own():
    before = os.sched_getaffinity(0)
    with cores.on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
        assert usable_cores() == 1
    assert os.sched_getaffinity(0) == before
    with pytest.raises(RuntimeError, match="inside"), cores.on_cores(1):
        raise RuntimeError("inside")
    assert os.sched_getaffinity(0) == before


def test_without_affinity_nothing_is_bound(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with cores.on_cores(1):
        assert usable_cores() == os.cpu_count()


@pytest.mark.parametrize("threads", [0, -1, 10**6])
def test_more_cores_than_there_are(threads):
    with pytest.raises(ValueError, match=rf"threads is {threads}; expected 1 to \d+, the cores"):
        cores.check_threads(threads)


@AFFINITY
@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, [0, 2, 1, 3]),
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, [0, 1, 2, 3]),
    ],
)
def test_two_threads_of_one_core_come_last(monkeypatch, tmp_path, lists, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    monkeypatch.setattr(cores, "TOPOLOGY", tmp_path)
    for core, twins in lists.items():
        (tmp_path / f"cpu{core}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{core}" / "topology" / "thread_siblings_list").write_text(twins + "\n")
    chosen = cores.choose(5)  # of core 4 nothing is known: it is one of its own
    assert [core for core in chosen if core != 4] == expected
    assert chosen.index(4) == 2
    assert cores.choose(2) == expected[:2]


def test_variables_for_any_matrix_library():
    assert cores.variables(3)["OPENBLAS_NUM_THREADS"] == cores.variables(3)["MKL_NUM_THREADS"] == "3"
