from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.training.schedule import Schedule


@given(steps=st.integers(1, 50), data=st.data())
def test_up_in_a_line_and_down_along_a_wave(steps, data):
    warmup = data.draw(st.integers(0, steps))
    schedule = Schedule(steps, 1.0, warmup, 0.1, 0.01)
    rates = [schedule.rate(step) for step in range(steps + 1)]
    assert all(a < b for a, b in pairwise(rates[: warmup + 1]))
    assert all(a > b for a, b in pairwise(rates[warmup:]))
    if warmup:
        assert rates[0] == pytest.approx(0.1)
    if warmup < steps:
        assert rates[warmup] == pytest.approx(1.0)
        assert rates[steps] == pytest.approx(0.01)


def test_half_way():
    schedule = Schedule(30, 1.0, 10, 0.0, 0.2)
    assert schedule.rate(5) == pytest.approx(0.5)
    assert schedule.rate(20) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"steps": 0}, "steps is 0; expected a whole number of at least 1"),
        ({"steps": 2.5}, "steps is 2.5; expected"),
        ({"steps": 5, "warmup": 6}, "warmup is 6; expected at most as many steps as there are, 5"),
        ({"steps": 5, "warmup": -1}, "warmup is -1; expected"),
        ({"steps": 5, "peak": float("nan")}, "peak is nan; expected a learning rate"),
        ({"steps": 5, "peak": 0}, "peak is 0; expected a learning rate above 0"),
        ({"steps": 5, "last": -1e-3}, "last is -0.001; expected"),
        ({"steps": 5, "first": "1"}, "first is '1'; expected"),
    ],
)
def test_what_is_no_schedule_is_refused(fields, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        Schedule(**fields)
