"""What is timed against what: the cases' own fields, on a small model and with our own implementation only."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench.models import write_random
from tests.benchmarks.measure import CASES, RANDOM, Case, _check, compare, store
from tests.benchmarks.neighbour import busy_core
from tests.benchmarks.peer import OURS, PLAIN, STREAMS
from tests.support.models import vision_config

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="cores are chosen, and memory is read, on Linux")
GIVEN = {"kind": "pictures", "height": 12, "width": 12}
RANDOM_CASE = Case("small", "small", GIVEN, 2)
FOLDER = Path("checkpoint")


class Small(Case):
    """Of a model that is written in no time."""

    def config(self, layers=None):
        return vision_config()


def test_case_names_are_one_each():
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("batch", [1, 8])
def test_who_is_timed(batch):
    case = replace(RANDOM_CASE, batch=batch)
    assert case.times(OURS)
    assert case.times("OpenVINO")
    assert case.times(STREAMS) == (batch > 1)
    assert not case.times(PLAIN)
    assert replace(case, stored="int8").times(PLAIN)
    assert replace(case, model="large-224-peaked").times(PLAIN)


def test_whose_checkpoint_it_is():
    """Ours is stored in fewer bits, or has other values; what stands beside it is the plain one."""
    stored, peaked = replace(RANDOM_CASE, stored="bfloat16"), replace(RANDOM_CASE, model="large-224-peaked")
    assert [it.place(OURS, FOLDER) for it in (RANDOM_CASE, stored, peaked)] == [FOLDER, FOLDER / "bfloat16", FOLDER]
    assert [it.place(PLAIN, FOLDER) for it in (stored, peaked)] == [FOLDER, FOLDER / RANDOM]
    assert {it.place("OpenVINO", FOLDER) for it in (RANDOM_CASE, stored, peaked)} == {FOLDER}
    assert RANDOM_CASE.agreement < peaked.agreement
    assert RANDOM_CASE.agreement < stored.agreement


class Answers:
    """Of a peer, without a process."""

    def __init__(self, features):
        self.features = features

    def ask(self, request, path):
        assert request == "features"
        np.save(path, self.features)


def test_who_computes_something_else_is_not_timed(tmp_path):
    ours = np.ones((2, 3), np.float32)
    found = {}
    workers = {"OpenVINO": Answers(2 * ours), OURS: Answers(ours), "ONNX Runtime": Answers(ours)}
    _check(workers, tmp_path, found, RANDOM_CASE)
    assert set(workers) == {OURS, "ONNX Runtime"}
    assert "computes something else: relative error 1, at most 1e-05 expected" in found["OpenVINO"]["failed"]


def test_with_peaked_weights_nobody_need_agree(tmp_path):
    ours = np.ones((2, 3), np.float32)
    found = {}
    workers = {"OpenVINO": Answers(2 * ours), OURS: Answers(ours), PLAIN: None}
    _check(workers, tmp_path, found, replace(RANDOM_CASE, model="large-224-peaked"))
    assert set(workers) == {"OpenVINO", OURS, PLAIN}
    assert found["OpenVINO"]["error"] == 1
    assert found[PLAIN]["error"] is None  # whose weights are others


@LINUX
def test_a_case_is_measured(tmp_path):
    """Ours from a file of bfloat16 against ours from float32, while one core is busy."""
    write_random(tmp_path, vision_config())
    case = Small("small", "small", GIVEN, 2, stored="bfloat16", neighbour=True)
    found = compare(case, tmp_path, [OURS, PLAIN], 1, 0.0, None, lambda _: None)
    stored = (tmp_path / "bfloat16" / "model.safetensors").stat().st_size
    assert stored < 0.6 * (tmp_path / "model.safetensors").stat().st_size
    assert set(found["peers"]) == {OURS, PLAIN}
    for peer in found["peers"].values():
        assert peer["seconds"]["rounds"] >= 3
        assert peer["memory"]["worst"] is None or peer["memory"]["worst"] > 0
    assert 0 < found["peers"][PLAIN]["error"] < case.agreement
    assert found["flops"] > 0


def test_a_file_is_stored_once(tmp_path):
    write_random(tmp_path, vision_config())
    store(tmp_path, "float32")
    assert not (tmp_path / "float32").exists()
    store(tmp_path, "bfloat16")
    before = (tmp_path / "bfloat16" / "model.safetensors").stat()
    store(tmp_path, "bfloat16")
    assert (tmp_path / "bfloat16" / "model.safetensors").stat() == before


@LINUX
def test_a_neighbour_keeps_one_core_busy_and_is_gone_afterwards():
    def neighbours():
        found = []
        for task in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"tests.benchmarks.neighbour" in task.read_bytes() and f"\nPPid:\t{os.getpid()}\n" in (
                    task.with_name("status").read_text()
                ):
                    found.append(os.sched_getaffinity(int(task.parent.name)))
            except OSError:  # a process that has ended meanwhile
                continue
        return found

    with busy_core(usable_cores()):
        (cores,) = neighbours()
        assert len(cores) == 1
        assert cores <= os.sched_getaffinity(0)
    assert neighbours() == []
