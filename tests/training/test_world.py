import numpy as np

from aimv2_np.data.world import HELD_OUT, caption
from aimv2_np.training.world import World


def test_a_number_is_a_picture():
    first, again, other = World()[7], World()[7], World(seed=1)[7]
    assert first[1] == again[1]
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


def test_it_holds_one_thing_or_two_and_no_pair_that_is_held_out():
    world = World(pictures=400)
    assert len(world) == 400
    scenes = [world.scene(number)[0] for number in range(400)]
    assert 200 < sum(len(scene.things) == 2 for scene in scenes) < 280
    assert not any((thing.color, thing.shape) in HELD_OUT for scene in scenes for thing in scene.things)


def test_plain_captions_are_of_one_wording_and_of_the_same_pictures():
    for number in range(30):
        (picture, free), (same, plain) = World()[number], World(plain=True)[number]
        np.testing.assert_array_equal(picture, same)
        assert plain == caption(World().scene(number)[0])
        assert len(free) > 3
