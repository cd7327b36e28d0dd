import os
from pathlib import Path

from aimv2_np.bench import machine
from aimv2_np.bench.machine import describe_machine, describe_versions


def test_this_machine():
    found = describe_machine()
    assert found["processor"]
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["memory"] is None or found["memory"] > 1 << 28


def test_a_system_that_tells_little(monkeypatch):
    monkeypatch.setattr(machine, "Path", lambda _: Path("nowhere"))
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.delattr(os, "getloadavg", raising=False)
    found = describe_machine()
    assert found["processor"]
    assert found["memory"] is None
    assert found["load"] is None


def test_versions_of_what_is_installed():
    found = describe_versions(("aimv2-np", "numpy", "no-such-package"))
    assert set(found) == {"python", "aimv2-np", "numpy"}
    assert all(found.values())
