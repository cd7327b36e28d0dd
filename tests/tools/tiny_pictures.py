"""Training material for the tiny model: pictures in pairs that differ in one respect, and what is true of which."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from aimv2_np.data.grammar import fact, pair
from aimv2_np.data.world import COLORS, HELD_OUT, OPPOSITE, RELATIONS, SEEN, SHAPES, SIZES, Scene, Thing, random_scene
from aimv2_np.shapes import NDArray

VALUES = {"shape": SHAPES, "color": COLORS, "size": SIZES}
FEW = VALUES | {"shape": ("circle", "star", "cross", "heart"), "color": ("red", "yellow", "green", "blue")}
Values = Mapping[str, Sequence[str]]
UNSAID, ABSENT, COLOURLESS = -1, -2, -3


def neighbour(scene: Scene, rng: np.random.Generator, values: Values = VALUES) -> Scene:
    """A scene that differs in one respect: one attribute, colours or shapes exchanged, or the relation.

    Only with pairs of colour and shape that training may see.
    """
    while True:
        things = list(scene.things)
        relation = scene.relation
        kind = rng.integers(6 if len(things) == 2 else 3)
        if kind < 3:
            name = list(values)[kind]
            i = int(rng.integers(len(things)))
            things[i] = replace(things[i], **{name: values[name][int(rng.integers(len(values[name])))]})
        elif kind == 3:
            relation = RELATIONS[int(rng.integers(4))]
        else:
            things = list(exchanged(scene, ("color", "shape")[kind - 4]).things)
        other = Scene(tuple(things), relation)
        if fact(other) != fact(scene) and len(set(things)) == len(things) and all(pair(t) in SEEN for t in things):
            return other


def neighbours(rng: np.random.Generator, two: float, values: Values = VALUES) -> tuple[Scene, Scene]:
    """Two scenes that differ in one respect, of two things with the chance `two`. None has a held-out pair."""
    pairs = [(color, shape) for color, shape in SEEN if color in values["color"] and shape in values["shape"]]
    scene = random_scene(rng, pairs, count=1 + int(rng.random() < two))
    return scene, neighbour(scene, rng, values)


def exchanged(scene: Scene, name: str) -> Scene:
    """The scene whose two things have each other's colour, shape or size."""
    a, b = scene.things
    return replace(scene, things=(replace(a, **{name: getattr(b, name)}), replace(b, **{name: getattr(a, name)})))


def misplaced(scene: Scene) -> Scene:
    """What is false of two things, in their own words: their places exchanged."""
    return replace(scene, relation=OPPOSITE[str(scene.relation)])


def mistaken(scene: Scene, rng: np.random.Generator) -> Scene:
    """What is false of two things, in their own words: their colours, shapes or sizes exchanged.

    Their places where that would name a pair that is held out, or say what is true.
    """
    other = exchanged(scene, ("color", "shape", "size")[int(rng.integers(3))])
    if all(thing.color is None or pair(thing) in SEEN for thing in other.things) and fact(other) != fact(scene):
        return other
    return misplaced(scene)


def colourless(picture: NDArray) -> NDArray:
    """The picture in grey: the channel that shows most, three times. (H, W, 3) uint8 -> the same."""
    return np.repeat(picture[:, :, [picture.std(axis=(0, 1)).argmax()]], 3, axis=2)


def without_colour(scene: Scene) -> Scene:
    """What can still be said of the scene when its picture is grey."""
    return replace(scene, things=tuple(replace(thing, color=None) for thing in scene.things))


def encode(scenes: Sequence[Scene]) -> NDArray:
    """(n, 7) int8: shape, colour, size of both things, relation; opposite relations differ in the last bit."""

    def thing(t: Thing) -> list[int]:
        return [UNSAID if v is None else VALUES[name].index(v) for name, v in vars(t).items()]

    def row(scene: Scene) -> list[int]:
        if len(scene.things) == 1:
            return [*thing(scene.things[0]), ABSENT, ABSENT, ABSENT, ABSENT]
        relation = UNSAID if scene.relation is None else RELATIONS.index(scene.relation)
        return [*thing(scene.things[0]), *thing(scene.things[1]), relation]

    return np.array([row(scene) for scene in scenes], np.int8)


def truth(scenes: NDArray, statements: NDArray) -> NDArray:
    """Which statement (columns) holds of which scene (rows), both encoded: (B, 7), (M, 7) -> (B, M) bool.

    The same as `aimv2_np.data.world.holds`, for all pairs at once.
    """
    turned = np.concatenate([scenes[:, 3:6], scenes[:, :3], scenes[:, 6:] ^ 1], 1)
    turned = np.where(scenes[:, 3:4] == ABSENT, scenes, turned)
    said = statements[None]
    same_count = (said[..., 3] == ABSENT) == (scenes[:, None, 3] == ABSENT)
    fits = [((said == UNSAID) | (said == seen[:, None])).all(-1) for seen in (scenes, turned)]
    found: NDArray = same_count & (fits[0] | fits[1])
    return found


def comparable(scenes: NDArray, statements: NDArray) -> NDArray:
    """Where a false statement may count against a scene: (B, 7), (M, 7) -> (B, M) bool.

    No red circle is ever seen, so a picture of anything red would learn to refuse "circle", which is no knowledge about
    circles. Single things are therefore compared only if the colour of each has been seen with the shape of the other.
    """
    met = np.ones((len(COLORS) + 1, len(SHAPES) + 1), bool)  # the last row and column: unsaid
    for color, shape in HELD_OUT:
        met[COLORS.index(color), SHAPES.index(shape)] = False
    seen, said = scenes[:, None].astype(int), statements[None].astype(int)
    both_single = (seen[..., 3] == ABSENT) & (said[..., 3] == ABSENT)
    color = np.maximum(seen[..., 1], UNSAID)  # what has no colour has been seen in every shape
    found: NDArray = ~both_single | (met[color, said[..., 0]] & met[said[..., 1], seen[..., 0]])
    return found
