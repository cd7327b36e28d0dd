import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.training.batches import ahead, numbers, random_of


@given(seed=st.integers(0, 9), length=st.integers(1, 20), first=st.integers(0, 60), count=st.integers(1, 30))
def test_it_is_a_window_of_one_row(seed, length, first, count):
    """So that batches of another size, or after a restart, go on where it was left."""
    whole = numbers(seed, length, 0, first + count)
    assert numbers(seed, length, first, count) == whole[first:]


@given(seed=st.integers(0, 9), length=st.integers(1, 20), epochs=st.integers(1, 3))
def test_each_is_seen_once_before_any_is_seen_again(seed, length, epochs):
    row = numbers(seed, length, 0, epochs * length)
    for epoch in range(epochs):
        assert sorted(row[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_the_order_changes_with_the_seed_and_the_epoch():
    rows = [tuple(numbers(seed, 50, epoch * 50, 50)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(rows)) == 4


def test_what_is_random_belongs_to_the_place():
    draws = [random_of(seed, place).random() for seed in (0, 1) for place in (5, 6)]
    assert len(set(draws)) == 4
    assert random_of(0, 5).random() == draws[0]


@pytest.mark.parametrize(("first", "stop"), [(0, 5), (3, 4), (4, 4)])
def test_ahead(first, stop):
    assert list(ahead(lambda number: number * number, first, stop)) == [n * n for n in range(first, stop)]


def test_the_next_is_made_while_one_is_used():
    begun = threading.Event()

    def make(number):
        if number == 1:
            begun.set()
        return number

    made = ahead(make, 0, 3)
    assert next(made) == 0
    assert begun.wait(10)
    made.close()


def test_an_error_comes_with_the_batch_it_belongs_to():
    def make(number):
        return 1 / (2 - number)

    made = ahead(make, 0, 5)
    assert [next(made), next(made)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(made)
