"""Connected components against a search from every row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.tasks.components import SHORTEN, Components


def searched(count, pairs):
    """Of each row the smallest one that it leads to."""
    near = {row: {row} for row in range(count)}
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    result = list(range(count))
    for start in range(count):
        reached, waiting = {start}, [start]
        while waiting:
            new = near[waiting.pop()] - reached
            reached |= new
            waiting += new
        result[start] = min(reached)
    return result


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(
    st.just(n), st.lists(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=9), max_size=5)
)))  # fmt: skip
def test_they_are_those_that_a_search_finds(case):
    count, parts = case
    known = Components(count)
    for part in parts:
        a, b = np.array(part, np.intp).reshape(-1, 2).T
        known.join(a, b)
        assert not known.are_apart(a, b).any()
    expected = searched(count, [pair for part in parts for pair in part])
    assert known.roots(np.arange(count)).tolist() == expected
    assert known.are_one(slice(0, count)) == (len(set(expected)) == 1)
    assert known.are_one(slice(0, 1), slice(count - 1, count)) == (expected[0] == expected[-1])


def test_a_chain_does_not_become_a_long_path():
    """Joined from its end, at its smallest row each time: without shortening, a path as long as the chain."""
    count = 40 * SHORTEN
    known, steps = Components(count), 0
    for row in range(count - 1, 0, -1):
        known.join(np.array([row]), np.array([row - 1]))
    row = count - 1
    while known._parents[row] != row:
        row, steps = known._parents[row], steps + 1
    assert row == 0
    assert steps <= 3 * SHORTEN
