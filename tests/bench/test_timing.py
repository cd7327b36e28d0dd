import pytest

from aimv2_np.bench.timing import in_turns, stopwatch, summary, turned


def test_statistics():
    found = summary([3.0, 1.0, 2.0, 10.0, 2.0])
    assert found == {"median": 2, "best": 1, "spread": pytest.approx((3 - 2) / 2), "rounds": 5}
    assert summary([4.0])["spread"] == 0


def test_everybody_runs_once_a_round_and_nobody_always_first():
    calls = []

    def contestant(name):
        def run():
            calls.append(name)
            return float(len(calls))

        return run

    found = in_turns({name: contestant(name) for name in "abc"}, seconds=0, rounds=4)
    assert "".join(calls) == "abcbcacababc"
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4, "c": 4}
    assert found["a"] == [1, 6, 8, 10]


def test_rounds_go_on_until_the_time_is_up(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    found = in_turns({"a": lambda: 1.0}, seconds=10, rounds=1)
    assert len(found["a"]) == 10


def test_turned():
    assert turned("abc", 4) == ["b", "c", "a"]
    assert turned([], 2) == []


def test_a_stopwatch_runs_the_function_once():
    calls = []
    assert stopwatch(lambda: calls.append(1)) >= 0
    assert calls == [1]
