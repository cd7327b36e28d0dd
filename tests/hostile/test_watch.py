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
def _not_counted(monkeypatch):
    monkeypatch.setattr(watch, "tallies", {})


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_fails_the_test_and_shows_the_bytes(how):
    with pytest.raises(AssertionError) as caught:
        read("misbehaviour", {"how": how.encode()}, outside={"secret": b"!"})
    assert FAULTS[how] in str(caught.value)
    assert f"how: {how.encode()!r}" in str(caught.value)


def test_a_link_out_of_the_folder_is_outside():
    with pytest.raises(AssertionError, match="touched what is not its own"):
        read("misbehaviour", {"how": Link("../secret")}, outside={"secret": b"nothing"})
