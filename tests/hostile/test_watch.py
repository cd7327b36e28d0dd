"""The watching itself: each kind of fault is noticed, and the next case is read by a new process."""

import pytest

from tests.support.hostile import watch
from tests.support.hostile.watch import Link, read

FAULTS = {
    "hang": "took more than a second of processor time",
    "crash": "ended by signal SIGABRT",
    "remember": "MB of memory",
    "reserve": "raised MemoryError",
    "read outside": "touched what is not its own: open",
    "write": "to write",
    "run": "touched what is not its own: subprocess.Popen",
    "undocumented": "raised UnicodeEncodeError, which is not documented",
    "long": "its message has 5000 characters",
    "escape": "not fit to be shown",
}


@pytest.fixture(autouse=True)
def _not_counted_and_at_once(monkeypatch):
    monkeypatch.setattr(watch, "tallies", {})
    monkeypatch.setattr(watch, "AGAIN", 0)


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_fails_the_test_and_shows_the_bytes(how):
    with pytest.raises(AssertionError) as caught:
        read("misbehaviour", {"how": how.encode()}, outside={"secret": b"!"})
    assert FAULTS[how] in str(caught.value)
    assert f"how: {how.encode()!r}" in str(caught.value)


def test_a_link_out_of_the_folder_is_outside():
    with pytest.raises(AssertionError, match="touched what is not its own"):
        read("misbehaviour", {"how": Link("../secret")}, outside={"secret": b"nothing"})


def test_what_took_too_long_is_read_again_for_the_machine_may_be_busy(monkeypatch):
    late = {"died": watch.TOO_LONG}
    reports = [late, late, {"value": 3, "touched": [], "bytes": 0, "seconds": 0.1}]
    monkeypatch.setattr(watch, "AGAIN", 2)
    monkeypatch.setattr(watch.Process, "ask", lambda *_: reports.pop(0))
    assert read("misbehaviour", {"how": b""}).value == 3
