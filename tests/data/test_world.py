"""The small world: what is drawn is what is said, and what is held out never appears."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.data import sample_pictures
from aimv2_np.data.drawing import RGB, SIDE, TILT, Spot, coverage, draw, place_things
from aimv2_np.data.grammar import fact, forget, pair, paraphrase
from aimv2_np.data.world import (
    ALL_PAIRS,
    COLORS,
    HELD_OUT,
    OPPOSITE,
    RELATIONS,
    SEEN,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    caption,
    holds,
    random_scene,
)
from tests.support.scenes import doubles, scenes, seeds

# -- what is held out


def test_a_fifth_of_the_pairs_is_held_out_and_every_colour_and_shape_is_seen():
    assert (len(HELD_OUT), len(SEEN)) == (13, 51)
    assert set(HELD_OUT) | set(SEEN) == set(ALL_PAIRS)
    for position, values in ((0, COLORS), (1, SHAPES)):
        missing = [sum(pair[position] == value for pair in HELD_OUT) for value in values]
        assert set(missing) == {1, 2}, "each colour and shape misses one or two partners, not more"


@given(seeds, st.sampled_from([1, 2]))
def test_scenes_of_seen_pairs_never_show_or_name_a_held_out_pair(seed, count):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, SEEN, count)
    assert all(pair(thing) in SEEN for thing in scene.things)
    for text in (caption(scene), paraphrase(scene, rng), paraphrase(forget(scene, rng), rng)):
        assert not any(f"{color} {shape}" in text for color, shape in HELD_OUT), text


def test_every_pair_size_and_relation_turns_up():
    rng = np.random.default_rng(0)
    drawn = [random_scene(rng, count=2) for _ in range(1500)]
    # 3000 things over 128 kinds: the chance that any one kind is missing is 128 · (127/128)^3000 = 8e-9.
    assert len({thing for scene in drawn for thing in scene.things}) == 128
    assert {scene.relation for scene in drawn} == set(RELATIONS)


# -- what is said


def test_plain_captions():
    star, circle = Thing("star", "red", "small"), Thing("circle", "blue", "large")
    assert caption(Scene((star, circle), "above")) == "a small red star above a large blue circle"
    assert caption(Scene((star, circle), "left of")) == "a small red star left of a large blue circle"
    assert caption(Scene((Thing("star", "red"),))) == "a red star"
    assert caption(Scene((Thing("heart", "orange"),))) == "an orange heart"
    assert caption(Scene((Thing(color="red"), Thing("ring")))) == "a red thing and a ring"


@given(doubles)
def test_the_other_telling_holds_and_the_opposite_does_not(scene):
    assert scene.turned.turned == scene
    assert fact(scene.turned) == fact(scene)
    assert holds(scene.turned, scene)
    assert not holds(Scene(scene.things, OPPOSITE[scene.relation]), scene)
    assert not holds(Scene(scene.things[:1]), scene), "a picture of two things is not a picture of one"


@given(scenes, scenes)
def test_a_complete_statement_holds_of_its_own_fact_only(one, other):
    assert holds(one, other) == (fact(one) == fact(other))


# -- what is drawn


def test_a_seed_determines_scene_caption_and_picture():
    def make(seed):
        rng = np.random.default_rng(seed)
        scene = random_scene(rng, count=2)
        return scene, paraphrase(scene, rng), draw(scene, rng).tobytes()

    assert make(3) == make(3)
    assert make(3)[2] != make(4)[2]


@settings(max_examples=60)
@given(scenes, seeds)
def test_pictures_are_64_pixels_rgb(scene, seed):
    picture = draw(scene, np.random.default_rng(seed))
    assert (picture.size, picture.mode) == ((SIDE, SIDE), "RGB")


@given(scenes, seeds)
def test_things_lie_inside_the_picture_apart_and_as_the_relation_says(scene, seed):
    spots = place_things(scene, np.random.default_rng(seed))
    for spot in spots:
        assert spot.radius <= min(spot.x, spot.y)
        assert max(spot.x, spot.y) <= SIDE - spot.radius
    if scene.relation:
        one, other = spots
        dx, dy = other.x - one.x, other.y - one.y
        assert np.hypot(dx, dy) > one.radius + other.radius
        along = {"above": dy, "below": -dy, "left of": dx, "right of": -dx}[scene.relation]
        across = dx if scene.relation in ("above", "below") else dy
        assert along > 2 * abs(across), "the relation could be taken for another"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("color", COLORS)
def test_every_thing_is_drawn_in_its_colour(shape, color):
    for seed, size in enumerate(SIZES):
        scene = Scene((Thing(shape, color, size),))
        (spot,) = place_things(scene, _after_background(seed))
        inside = coverage(shape, spot) > 0.99
        assert inside.sum() > 10, "hardly visible"
        picture = np.asarray(draw(scene, np.random.default_rng(seed)), np.float32)
        seen = np.median(picture[inside], axis=0)
        # The light scales a colour by 0.8 to 1.1: compare directions.
        base = np.array([RGB[c] for c in COLORS], np.float32)
        cosine = (base @ seen) / np.linalg.norm(base, axis=1)
        scale = cosine / np.linalg.norm(base, axis=1)
        nearest = np.linalg.norm(np.clip(scale, 0.8, 1.1)[:, None] * base - seen, axis=1).argmin()
        assert COLORS[nearest] == color


def _after_background(seed: int) -> np.random.Generator:
    from aimv2_np.data.drawing import background

    rng = np.random.default_rng(seed)
    background(rng)
    return rng


@settings(max_examples=60)
@given(doubles.filter(lambda scene: scene.things[0].color != scene.things[1].color), seeds)
def test_the_drawn_centroids_honour_the_relation(scene, seed):
    rng = _after_background(seed)
    spots = place_things(scene, rng)
    masks = [coverage(thing.shape, spot) for thing, spot in zip(scene.things, spots, strict=True)]
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    (x0, y0), (x1, y1) = [((m * x).sum() / m.sum(), (m * y).sum() / m.sum()) for m in masks]
    assert {"above": y0 < y1, "below": y0 > y1, "left of": x0 < x1, "right of": x0 > x1}[scene.relation]
    assert not (masks[0] * masks[1]).any(), "the two things overlap"


@given(st.sampled_from(SHAPES), st.floats(8, 15), st.floats(0, 6.3), st.floats(17, 47), st.floats(17, 47))
def test_a_shape_stays_within_its_circle(shape, radius, angle, x, y):
    mask = coverage(shape, Spot(x, y, radius, angle))
    rows, columns = np.nonzero(mask)
    # A pixel's centre can lie half a diagonal (0.71) and an oversampled pixel (0.25) beyond what it touches.
    assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).max() <= radius + 1.0
    assert ((mask > 0) & (mask < 1)).any(), "edges are smooth"


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_differ_from_each_other_at_any_tilt(shape):
    spots = [Spot(32, 32, 14, angle) for angle in np.linspace(-TILT, TILT, 11)]
    mine = coverage(shape, spots[5])
    for other in set(SHAPES) - {shape}:
        overlap = [np.minimum(mine, m).sum() / np.maximum(mine, m).sum() for m in (coverage(other, s) for s in spots)]
        assert max(overlap) < 0.85, f"{shape} and {other} cover the same pixels"


def test_backgrounds_are_nearly_grey():
    from aimv2_np.data.drawing import background

    rng = np.random.default_rng(0)
    chroma = max(np.ptp(background(rng), axis=-1).max() for _ in range(200))
    least = min(max(rgb) - min(rgb) for rgb in RGB.values())
    assert chroma < least / 2, "a background could be taken for a colour"


# -- at the door


def test_unknown_words_and_impossible_scenes_are_refused():
    with pytest.raises(ValueError, match=r"hexagon.*circle"):
        Thing("hexagon")
    with pytest.raises(ValueError, match="0 things"):
        Scene(())
    with pytest.raises(ValueError, match="inside"):
        Scene((Thing("star"), Thing("ring")), "inside")
    with pytest.raises(ValueError, match="relation"):
        Scene((Thing("star"),), "above")
    with pytest.raises(ValueError, match="unsaid"):
        draw(Scene((Thing("star", "red"),)), np.random.default_rng(0))


def test_samples_are_drawn_the_same_each_time():
    samples = sample_pictures()
    assert len(samples) == 8
    assert {sample.seen for sample in samples} == {True, False}
    assert [s.picture.tobytes() for s in samples] == [s.picture.tobytes() for s in sample_pictures()]
    assert len({sample.caption for sample in samples}) == 8


def test_importing_the_data_package_is_light():
    code = "import sys, aimv2_np.data; print([m for m in ('PIL', 'tokenizers', 'safetensors') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
