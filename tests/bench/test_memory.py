import sys
from pathlib import Path

import numpy as np
import pytest

from aimv2_np.bench import memory
from aimv2_np.bench.memory import read_memory, reset_peak

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
MIB = 1 << 20


@LINUX
def test_what_is_allocated_is_seen():
    before = read_memory()
    array = np.ones(32 * MIB, np.uint8)
    after = read_memory()
    for name in ("resident", "private", "anonymous", "proportional"):
        # Other allocations, and the garbage collector, may take or give back a little in between.
        assert getattr(after, name) - getattr(before, name) == pytest.approx(array.nbytes, abs=8 * MIB)
    assert after.peak >= after.anonymous
    assert after.peak >= array.nbytes


@LINUX
def test_pages_of_a_mapped_file_are_not_its_own(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(32 * MIB))
    before = read_memory()
    mapped = np.memmap(path, np.uint8, "r")
    assert int(mapped.sum()) == 0
    after = read_memory()
    assert after.anonymous - before.anonymous < 8 * MIB
    assert after.file - before.file > 24 * MIB


@LINUX
def test_the_peak_begins_anew():
    array = np.ones(64 * MIB, np.uint8)
    high = read_memory().peak
    del array
    if not reset_peak():
        pytest.skip("this system does not let the peak be reset")
    low = read_memory()
    assert high - low.peak > 32 * MIB
    array = np.ones(64 * MIB, np.uint8)
    size = array.nbytes
    del array
    worst = read_memory()
    assert worst.peak_anonymous - low.anonymous == pytest.approx(size, abs=16 * MIB)


def test_systems_without_proc_tell_the_peak_at_most(monkeypatch):
    monkeypatch.setattr(memory, "ROOT", Path("nowhere"))
    found = read_memory()
    assert found.resident is None
    assert found.anonymous is None
    assert found.peak_anonymous is None
    if sys.platform != "win32":
        assert found.peak > 10 * MIB
    assert not reset_peak()
