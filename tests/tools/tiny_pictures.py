"""Training material for the tiny model: pictures in pairs that differ in one respect, and what is true of which."""

from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimv2_np.data.drawing import SIDE, draw
from aimv2_np.data.world import COLORS, HELD_OUT, RELATIONS, SEEN, SHAPES, SIZES, Scene, Thing, random_scene
from tests.support.tiny_world import fact, pair

VALUES = {"shape": SHAPES, "color": COLORS, "size": SIZES}
UNSAID, ABSENT, COLOURLESS = -1, -2, -3
CHUNK = 2000


def neighbour(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene that differs in one respect: one attribute, colours or shapes exchanged, or the relation.

    Only with pairs of colour and shape that training may see.
    """
    while True:
        things = list(scene.things)
        relation = scene.relation
        kind = rng.integers(6 if len(things) == 2 else 3)
        if kind < 3:
            name = list(VALUES)[kind]
            i = int(rng.integers(len(things)))
            things[i] = replace(things[i], **{name: VALUES[name][int(rng.integers(len(VALUES[name])))]})
        elif kind == 3:
            relation = RELATIONS[int(rng.integers(4))]
        else:
            name = ("color", "shape")[kind - 4]
            a, b = things
            things = [replace(a, **{name: getattr(b, name)}), replace(b, **{name: getattr(a, name)})]
        other = Scene(tuple(things), relation)
        if fact(other) != fact(scene) and len(set(things)) == len(things) and all(pair(t) in SEEN for t in things):
            return other


def training_scenes(rng: np.random.Generator, pairs: int) -> list[Scene]:
    """Neighbours side by side; two in five pictures show a single thing. None has a held-out pair."""
    scenes: list[Scene] = []
    for _ in range(pairs):
        scene = random_scene(rng, SEEN, count=1 + int(rng.random() < 0.6))
        scenes += [scene, neighbour(scene, rng)]
    return scenes


def _render(seed: tuple[int, int]) -> tuple[list[Scene], np.ndarray]:
    rng = np.random.default_rng(seed)
    scenes = training_scenes(rng, CHUNK // 2)
    return scenes, np.stack([np.asarray(draw(scene, rng)) for scene in scenes])


def render(folder: Path, count: int, seed: int, processes: int) -> tuple[list[Scene], np.ndarray]:
    """`count` training pictures, (count, 64, 64, 3) uint8, drawn once and kept in `folder`."""
    path = folder / f"pictures-{seed}-{count}.npy"
    chunks = [(seed, i) for i in range(count // CHUNK)]
    if path.exists():
        scenes = [s for chunk in chunks for s in training_scenes(np.random.default_rng(chunk), CHUNK // 2)]
        return scenes, np.load(path, mmap_mode="r")
    pictures = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE, 3))
    scenes = []
    with Pool(processes) as pool:
        for i, (some, drawn) in enumerate(pool.imap(_render, chunks)):
            scenes += some
            pictures[i * CHUNK : (i + 1) * CHUNK] = drawn
    return scenes, pictures


def colourless(picture: np.ndarray) -> np.ndarray:
    """The picture in grey: the channel that shows most, three times. (H, W, 3) uint8 -> the same."""
    return np.repeat(picture[:, :, [picture.std(axis=(0, 1)).argmax()]], 3, axis=2)


def without_colour(scene: Scene) -> Scene:
    """What can still be said of the scene when its picture is grey."""
    return replace(scene, things=tuple(replace(thing, color=None) for thing in scene.things))


def encode(scenes: Sequence[Scene]) -> Tensor:
    """(n, 7) int8: shape, colour, size of both things, relation; opposite relations differ in the last bit."""

    def thing(t: Thing) -> list[int]:
        return [UNSAID if v is None else VALUES[name].index(v) for name, v in vars(t).items()]

    def row(scene: Scene) -> list[int]:
        if len(scene.things) == 1:
            return [*thing(scene.things[0]), ABSENT, ABSENT, ABSENT, ABSENT]
        relation = UNSAID if scene.relation is None else RELATIONS.index(scene.relation)
        return [*thing(scene.things[0]), *thing(scene.things[1]), relation]

    return torch.tensor([row(scene) for scene in scenes], dtype=torch.int8)


def truth(scenes: Tensor, statements: Tensor) -> Tensor:
    """Which statement (columns) holds of which scene (rows), both encoded: (B, 7), (M, 7) -> (B, M) bool.

    The same as `aimv2_np.data.world.holds`, for all pairs at once.
    """
    turned = torch.cat([scenes[:, 3:6], scenes[:, :3], scenes[:, 6:] ^ 1], 1)
    turned = torch.where(scenes[:, 3:4] == ABSENT, scenes, turned)
    said = statements[None]
    same_count = (said[..., 3] == ABSENT) == (scenes[:, None, 3] == ABSENT)
    fits = [((said == UNSAID) | (said == seen[:, None])).all(-1) for seen in (scenes, turned)]
    return same_count & (fits[0] | fits[1])


def comparable(scenes: Tensor, statements: Tensor) -> Tensor:
    """Where a false statement may count against a scene: (B, 7), (M, 7) -> (B, M) bool.

    No red circle is ever seen, so a picture of anything red would learn to refuse "circle", which is no knowledge about
    circles. Single things are therefore compared only if the colour of each has been seen with the shape of the other.
    """
    met = torch.ones(len(COLORS) + 1, len(SHAPES) + 1, dtype=torch.bool)  # the last row and column: unsaid
    for color, shape in HELD_OUT:
        met[COLORS.index(color), SHAPES.index(shape)] = False
    seen, said = scenes[:, None].long(), statements[None].long()
    both_single = (seen[..., 3] == ABSENT) & (said[..., 3] == ABSENT)
    color = seen[..., 1].clamp(min=UNSAID)  # what has no colour has been seen in every shape
    return ~both_single | (met[color, said[..., 0]] & met[said[..., 1], seen[..., 0]])
