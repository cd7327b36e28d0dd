"""What the tiny model is trained on is true, and its loss is the contrastive one where each picture has one caption."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import Aimv2Config, Aimv2Processor
from aimv2_np.data import tiny_model_path
from aimv2_np.data.grammar import forget, pair
from aimv2_np.data.world import HELD_OUT, SEEN, holds, random_scene
from aimv2_np.network.contrastive import contrastive_loss
from tests.support.gradients import check
from tests.tools import tiny_pictures as tiny
from tests.tools.tiny_task import TinyTask, loss_of_truths


def scenes(seed, number=12):
    rng = np.random.default_rng(seed)
    return [random_scene(rng, SEEN, 1 + i % 2) for i in range(number)], rng


@given(st.integers(0, 999))
def test_truth_is_what_holds(seed):
    shown, rng = scenes(seed)
    said = [*shown, *(forget(scene, rng) for scene in shown), *(scene.turned for scene in shown if scene.relation)]
    expected = [[holds(statement, scene) for statement in said] for scene in shown]
    np.testing.assert_array_equal(tiny.truth(tiny.encode(shown), tiny.encode(said)), expected)


@given(st.integers(0, 999))
def test_a_twist_is_false_and_names_no_pair_that_is_held_out(seed):
    shown, rng = scenes(seed)
    for scene in shown:
        if scene.relation:
            for partial in (scene, tiny.without_colour(scene)):
                other = tiny.mistaken(partial, rng)
                assert not holds(tiny.misplaced(partial), scene) or partial.things[0] == partial.things[1]
                assert not holds(other, scene) or partial.things[0] == partial.things[1]  # then both tellings are true
                assert not any(pair(thing) in HELD_OUT for thing in other.things)


@given(st.integers(0, 999), st.sampled_from([0.0, 1.0]))
def test_neighbours_differ_in_one_respect(seed, two):
    first, second = tiny.neighbours(np.random.default_rng(seed), two)
    assert len(first.things) == len(second.things) == 1 + two
    assert not holds(first, second)


@given(st.integers(0, 999))
def test_a_few_colours_and_shapes(seed):
    for scene in tiny.neighbours(np.random.default_rng(seed), 1.0, tiny.FEW):
        assert len(scene.things) == 2
        assert all(thing.color in tiny.FEW["color"] and thing.shape in tiny.FEW["shape"] for thing in scene.things)


def test_single_things_are_compared_where_the_other_pair_has_been_seen():
    color, shape = HELD_OUT[0]
    others = [next(it for it in SEEN if it[0] == color), next(it for it in SEEN if it[1] == shape)]
    single = tiny.encode(scenes(0)[0])[:1].repeat(2, axis=0)
    from aimv2_np.data.world import COLORS, SHAPES

    for row, (own_color, own_shape) in zip(single, others, strict=True):
        row[:2] = SHAPES.index(own_shape), COLORS.index(own_color)
        row[3:] = tiny.ABSENT
    assert not tiny.comparable(single, single)[0, 1]
    assert tiny.comparable(single, single)[0, 0]


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(0, 99), st.floats(0.1, 20))
def test_with_one_true_caption_each_it_is_the_contrastive_loss(number, seed, scale):
    logits = scale * np.random.default_rng(seed).standard_normal((number, number))
    own = np.eye(number, dtype=bool)
    np.testing.assert_allclose(loss_of_truths(logits, own, ~own), contrastive_loss(logits), rtol=1e-6, atol=1e-9)


def test_what_does_not_compete_changes_nothing_and_the_loss_has_its_slope():
    logits = np.random.default_rng(0).standard_normal((3, 5))
    true = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0]], bool)
    rival = ~true
    rival[0, 4] = rival[1, 4] = rival[2, 4] = False
    before = loss_of_truths(logits, true, rival)
    logits[:, 4] += 3
    assert loss_of_truths(logits, true, rival) == before
    check(lambda x: loss_of_truths(x, true, rival), logits)


@pytest.fixture(scope="module")
def task():
    place = tiny_model_path()
    processor = Aimv2Processor.from_pretrained(place)
    return TinyTask(Aimv2Config.from_pretrained(place), processor, few_until=8, ordered_until=20)


def test_a_batch(task):
    """At first two things each, with two statements that hold and two that do not."""
    first, later = task.batch(range(8)), task.batch(range(8, 16))
    assert first.pixels.shape == (8, 3, 64, 64)
    assert first.true.shape == (8, 32)
    assert first.true.any(axis=0).reshape(8, 4)[:, :2].all()
    assert later.true.shape[1] < 32
    assert not (later.true & later.rival).any()
    np.testing.assert_array_equal(task.batch(range(8)).ids, first.ids)
    losses = task.losses(task.network, later)
    assert np.isfinite(losses["loss"])


def test_who_lies_above_or_left_is_named_first_and_later_no_more(task):
    assert [task.turned(place) for place in (0, 19, 20, 30, 40, 400)] == [0, 0, 0, 0.25, 0.5, 0.5]
    lower = {"below", "under", "beneath", "right"}
    words = [
        task.processor.tokenizer.decode(row[key == 1]) for row, key in zip(*task.batch(range(8))[1:3], strict=True)
    ]
    assert not lower & set(" ".join(words).split())
    words = [
        task.processor.tokenizer.decode(row[key == 1]) for row, key in zip(*task.batch(range(40, 48))[1:3], strict=True)
    ]
    assert lower & set(" ".join(words).split())
