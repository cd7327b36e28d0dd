import asyncio
import threading

import numpy as np
import pytest

from aimv2_np import textbook
from aimv2_np.backends.operation import operation, watching
from aimv2_np.network.attention import attention
from aimv2_np.network.linear import linear
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated


class Apples(int):
    pass


class Pears(int):
    pass


class Pippins(Apples):
    pass


@pytest.fixture
def double():
    @operation
    def double(x, times=2):
        """Twice."""
        return ("as written", x * times)

    @double.register(Apples)
    def of_apples(x, times=2):
        return ("apples", x * times)

    return double


def test_the_type_of_the_first_argument_decides(double):
    assert double(Apples(3)) == ("apples", 6)
    assert double(Pears(3)) == ("as written", 6)
    assert double(3, Apples(2)) == ("as written", 6)
    assert double(Apples(3), times=5) == ("apples", 15)
    assert double(Apples(3), 5) == ("apples", 15)


def test_exactly_this_type(double):
    """A subclass may mean something else by its operators."""
    assert double(Pippins(3)) == ("as written", 6)


def test_register_returns_the_body(double):
    @double.register(Pears)
    def of_pears(x, times=2):
        return "pears"

    assert of_pears(Pears(1)) == double(Pears(1)) == "pears"


def test_a_later_body_replaces_an_earlier_one(double):
    double.register(Apples)(lambda x, times=2: "new")
    assert double(Apples(3)) == "new"


def test_textbook_runs_the_body_as_written(double):
    with textbook():
        assert double(Apples(3)) == ("as written", 6)
    assert double(Apples(3)) == ("apples", 6)
    assert double.textbook(Apples(3)) == ("as written", 6)


def test_textbook_nests(double):
    with textbook():
        with textbook():
            assert double(Apples(1))[0] == "as written"
        assert double(Apples(1))[0] == "as written"
    assert double(Apples(1))[0] == "apples"


def test_an_error_restores_the_state(double):
    with pytest.raises(KeyError, match="inside"), textbook():
        raise KeyError("inside")
    assert double(Apples(1))[0] == "apples"


def test_errors_of_a_body_arrive_unchanged(double):
    @double.register(Pears)
    def of_pears(x, times=2):
        raise ZeroDivisionError("pears")

    with pytest.raises(ZeroDivisionError, match="pears"):
        double(Pears(1))


def test_other_threads_are_not_affected(double):
    seen = []
    inside, done = threading.Event(), threading.Event()

    def work():
        with textbook():
            inside.set()
            done.wait(10)
            seen.append(double(Apples(1))[0])

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    seen.append(double(Apples(1))[0])
    done.set()
    thread.join(10)
    assert seen == ["apples", "as written"]


def test_other_tasks_are_not_affected(double):
    async def written():
        with textbook():
            await asyncio.sleep(0)
            return double(Apples(1))[0]

    async def plain():
        await asyncio.sleep(0)
        return double(Apples(1))[0]

    async def both():
        return await asyncio.gather(written(), plain(), written(), plain())

    assert asyncio.run(both()) == ["as written", "apples", "as written", "apples"]


def test_an_operation_looks_like_its_function(double):
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice."
    assert "double" in repr(double)
    assert "Apples" in repr(double)
    double.bodies.clear()
    assert "none" in repr(double)


@pytest.mark.parametrize("op", [attention, gated, linear, rms_norm])
def test_the_layers_operations_have_bodies_for_numpy(op):
    assert np.ndarray in op.bodies
    assert op.__doc__


def test_a_watcher_runs_every_call_and_is_gone_afterwards():
    @operation
    def double(x):
        return x + x

    double.register(np.ndarray)(lambda x: 2 * x)
    seen = []

    def watcher(op, body, args, kwargs):
        seen.append((op, body is double.bodies[np.ndarray], args, kwargs))
        return body(*args, **kwargs)

    with watching(watcher):
        assert double(np.float64(3)) == 6  # no array: the textbook
        assert double(np.array(4)) == 8
        with watching(lambda op, body, args, kwargs: "inner"):
            assert double(np.array(5)) == "inner"
        assert double(x=1) == 2
    assert double(np.array(6)) == 12
    assert [(op is double, fast, args, kwargs) for op, fast, args, kwargs in seen] == [
        (True, False, (3,), {}), (True, True, (4,), {}), (True, False, (), {"x": 1}),
    ]  # fmt: skip


def test_a_provider_is_asked_when_the_first_array_of_its_library_comes(monkeypatch):
    from aimv2_np.backends import operation as module

    class Foreign:
        pass

    Foreign.__module__ = "somelibrary.core"
    asked = []

    @operation
    def double(x):
        return "as written"

    def register(array_type):
        asked.append(array_type)
        double.register(array_type)(lambda x: "faster")

    monkeypatch.setattr(module, "_providers", {})
    module.provide("somelibrary", register)
    assert double(3) == "as written"
    assert asked == []
    with textbook():
        assert double(Foreign()) == "as written"
    assert asked == []
    assert [double(Foreign()), double(Foreign())] == ["faster", "faster"]
    assert asked == [Foreign]
