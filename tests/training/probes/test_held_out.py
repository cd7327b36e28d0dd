import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.training.probes.held_out import Tried, best, checked_classes, hold_out, score


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 100))
def test_every_picture_is_on_one_side_and_every_class_is_trained_on(own, seed):
    own = np.array(own)
    if max(np.bincount(own)) < 2:
        with pytest.raises(ValueError, match="one picture of each class"):
            hold_out(own, seed)
        return
    kept, held = hold_out(own, seed)
    assert sorted([*kept, *held]) == list(range(len(own)))
    for number in set(own):
        total, out = (own == number).sum(), (own[held] == number).sum()
        assert out == (max(1, round(total / 5)) if total > 1 else 0)
        assert out < total


def test_the_seed_decides_which():
    own = np.arange(100) % 2
    first, again, other = (hold_out(own, seed)[1] for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_the_lowest_loss_is_the_best_and_the_first_of_equals():
    tried = [Tried({}, 0.9, 0.5), Tried({}, 0.8, 0.4), Tried({}, 0.9, 0.4), Tried({}, 0.0, float("inf"))]
    assert best(tried) == 1


def test_score():
    found = score({"a": 1.0}, np.array([[0.0, 0.0], [1e4, 0.0]]), np.array([0, 0]))
    assert (found.accuracy, found.loss) == (1, pytest.approx(np.log(2) / 2))
    broken = score({}, np.array([[np.nan, 0.0]]), np.array([0]))
    assert (broken.accuracy, broken.loss) == (0, float("inf"))


@pytest.mark.parametrize(
    ("labels", "said"), [(["a"] * 3, "1 class "), ([], "0 classes"), (["a", ""], "empty name"), (["a"], "1 class")]
)
def test_too_few_classes(labels, said):
    with pytest.raises(ValueError, match=said):
        checked_classes(labels, len(labels))
