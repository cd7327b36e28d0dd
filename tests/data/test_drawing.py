"""Drawn pictures: things where the scene says, of the colour that it says, and the same for the same seed."""

import numpy as np
import pytest

from aimv2_np.data.drawing import OUTLINES, RGB, SIDE, Spot, background, coverage, draw, place_things
from aimv2_np.data.world import Scene, Thing

RELATIONS = {
    "above": lambda a, b: a.y < b.y,
    "below": lambda a, b: a.y > b.y,
    "left of": lambda a, b: a.x < b.x,
    "right of": lambda a, b: a.x > b.x,
}
RED, BLUE = Thing("circle", "red", "small"), Thing("square", "blue", "small")


@pytest.mark.parametrize("relation", RELATIONS)
def test_things_stand_as_the_relation_says_and_do_not_touch(relation):
    for seed in range(20):
        a, b = place_things(Scene((RED, BLUE), relation), np.random.default_rng(seed))
        assert RELATIONS[relation](a, b)
        assert np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius
        for spot in (a, b):
            assert spot.radius < min(spot.x, spot.y, SIDE - spot.x, SIDE - spot.y)


@pytest.mark.parametrize("shape", OUTLINES)
def test_a_shape_lies_inside_its_circle(shape):
    spot = Spot(30.0, 34.0, 12.0, 0.3)
    covered = coverage(shape, spot)
    assert covered.shape == (SIDE, SIDE)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    assert (covered[np.hypot(x - spot.x, y - spot.y) > spot.radius + 1] == 0).all()
    assert 0.2 < covered.sum() / (np.pi * spot.radius**2) < 1.02
    assert covered.max() == 1


def test_a_circle_covers_its_area():
    assert coverage("circle", Spot(32, 32, 12, 0)).sum() == pytest.approx(np.pi * 12**2, rel=0.02)  # 48 corners: 0.3 %


@pytest.mark.parametrize("color", RGB)
def test_the_middle_of_a_circle_has_its_colour(color):
    scene = Scene((Thing("circle", color, "large"),), None)
    rng = np.random.default_rng(5)
    background(rng)  # comes first
    (spot,) = place_things(scene, rng)
    picture = draw(scene, np.random.default_rng(5))
    assert (picture.size, picture.mode) == ((SIDE, SIDE), "RGB")
    top, left = int(spot.y) - 2, int(spot.x) - 2
    shown = np.asarray(picture, float)[top : top + 5, left : left + 5].mean((0, 1))
    nearest = min(RGB, key=lambda name: np.abs(shown - RGB[name]).sum())
    assert nearest == color


def test_one_seed_is_one_picture():
    first, again, other = (np.asarray(draw(Scene((RED,), None), np.random.default_rng(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
