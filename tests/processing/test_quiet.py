import os
import subprocess
import sys
import threading

import pytest

from aimv2_np.processing.quiet import without_panics


class PanicException(BaseException):
    pass


def write(text: str) -> None:
    os.write(2, text.encode())


def fail(text: str, error: BaseException) -> None:
    with without_panics():
        write(text)
        raise error


def test_everything_but_a_panic_is_passed_on(capfd):
    with without_panics():
        write("a warning\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "a warning\n"
    with pytest.raises(PanicException):
        fail(
            "a warning\n\nthread '<unnamed>' panicked at lib.rs:1:2:\nstack backtrace:\n   0: begin\n", PanicException()
        )
    assert capfd.readouterr().err == "a warning\n"
    with pytest.raises(ValueError, match="no panic"):
        fail("\nthread '1' is what a warning is about\n", ValueError("no panic"))
    assert "what a warning is about" in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_standard_error_and_may_read_tokenizers():
    code = """
import os, threading
from aimv2_np.processing.quiet import without_panics
inside, done = threading.Event(), threading.Event()
def hold():
    with without_panics():
        inside.set(); done.wait()
thread = threading.Thread(target=hold); thread.start(); inside.wait()
child = os.fork()
if child == 0:
    with without_panics():
        os.write(2, b"from the child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
done.set(); thread.join()
"""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stderr == "from the child"


def test_a_closed_standard_error_is_left_alone():
    code = "from aimv2_np.processing.quiet import without_panics\nwith without_panics(): print(1)"
    assert (
        subprocess.run(
            ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, code], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        == "1\n"
    )


def test_threads_take_turns(capfd):
    def work() -> None:
        for _ in range(20):
            with without_panics():
                write("x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err == 80 * "x"
