import sys

import pytest

from aimv2_np.bench.talk import Worker, environment

SERVE = """
import os, sys
from aimv2_np.bench.talk import serve

def shout():
    print("from Python")
    os.system("echo from a library")
    return "heard"

serve({
    "add": lambda a, b: a + b, "shout": shout, "variable": lambda name: os.environ.get(name), "die": lambda: os.abort(),
    "exit": lambda: sys.exit("no more"), "fail": lambda: {}["nothing"],
})
"""


def worker(**changes):
    return Worker([sys.executable, "-c", SERVE], changes)


def test_questions_and_answers():
    with worker() as it:
        assert it.ask("add", a=1, b=2) == 3
        assert it.ask("add", a="ä", b="\n") == "ä\n"
        assert it.ask("shout") == "heard"  # what is printed is no answer


def test_errors_are_told_and_survived():
    with worker() as it:
        with pytest.raises(RuntimeError, match="KeyError: 'nothing'"):
            it.ask("fail")
        assert it.ask("add", a=1, b=1) == 2


def test_a_death_is_told_with_the_last_words():
    with worker() as it, pytest.raises(RuntimeError, match="exited with 1: … no more"):
        it.ask("exit")
    with worker() as it:
        with pytest.raises(RuntimeError, match="SIGABRT" if sys.platform != "win32" else "exited"):
            it.ask("die")
        with pytest.raises(RuntimeError, match="measuring process"):
            it.ask("add", a=1, b=1)


def test_the_environment_is_changed_for_the_process_alone(monkeypatch):
    monkeypatch.setenv("AIMV2_TEST", "here")
    with worker(AIMV2_TEST="there") as it:
        assert it.ask("variable", name="AIMV2_TEST") == "there"
    assert environment()["AIMV2_TEST"] == "here"
