"""A lock on a file: one holds it at a time, and whoever ends lets go of it, however it ends."""

import os
import subprocess
import sys

import pytest

from aimv2_np.tasks.embedding.lock import lock
from tests.support.paths import ROOT

HOLD = "import sys, pathlib; from aimv2_np.tasks.embedding.lock import lock; f = lock(pathlib.Path(sys.argv[1]), ''); "
HOLD += "print('held', flush=True); sys.stdin.read()"


def test_a_second_one_is_told_what_is_wrong(tmp_path):
    with lock(tmp_path / "lock", "first"), pytest.raises(BlockingIOError, match="somebody is at it"):
        lock(tmp_path / "lock", "somebody is at it")
    lock(tmp_path / "lock", "second").close()  # the first has let go


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_process_that_is_killed_lets_go(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            lock(tmp_path / "lock", "held")
        process.kill()
        process.wait()
    lock(tmp_path / "lock", "still held").close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that does not fork")
def test_a_forked_process_does_not_hold_it(tmp_path):
    held = lock(tmp_path / "lock", "taken")
    (begun, begin), (ended, end) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(end)
        os.write(begin, b"x")
        os.read(ended, 1)  # until the parent closes its end
        os._exit(0)
    os.read(begun, 1)
    held.close()
    try:
        lock(tmp_path / "lock", "taken").close()
    finally:
        os.close(end)
        os.waitpid(child, 0)
