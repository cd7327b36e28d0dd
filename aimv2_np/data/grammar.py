"""What can be said of scenes: partial statements, in many wordings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from aimv2_np.data.world import Scene, Thing

T = TypeVar("T")
OPENINGS = ("", "", "", "a picture of ", "a drawing of ", "a photo of ")
SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
JOINTS = {
    "above": ("above", "over", "on top of", "that is above"),
    "below": ("below", "under", "beneath", "that is below"),
    "left of": ("left of", "to the left of", "on the left of", "that is left of"),
    "right of": ("right of", "to the right of", "on the right of", "that is right of"),
    None: ("and", "and", "with", "next to"),
}


def forget(scene: Scene, rng: np.random.Generator, chance: float = 0.5) -> Scene:
    """A partial scene that is true of `scene`: each attribute is dropped with probability `chance`."""
    keep = rng.random((len(scene.things), 3)) >= chance
    things = tuple(
        Thing(thing.shape if k[0] else None, thing.color if k[1] else None, thing.size if k[2] else None)
        for thing, k in zip(scene.things, keep, strict=True)
    )
    return replace(scene, things=things, relation=None if rng.random() < chance else scene.relation)


def fact(scene: Scene) -> Scene:
    """The one of its two tellings that says "above" or "left of": equal for scenes that look alike."""
    return scene.turned if scene.relation in ("below", "right of") else scene


def pair(thing: Thing) -> tuple[str | None, str | None]:
    """(colour, shape)"""
    return thing.color, thing.shape


def paraphrase(scene: Scene, rng: np.random.Generator, turned: float = 0.5) -> str:
    """English for a complete or partial scene, as `caption` gives it in its plain wording.

    With the chance `turned` two things are told from the other one: "A above B" as "B below A".
    """
    if len(scene.things) == 2 and rng.random() < turned:
        scene = scene.turned
    nouns = [_noun(thing, _pick(rng, SIZE_WORDS[thing.size]) if thing.size else "", rng) for thing in scene.things]
    joint = f" {_pick(rng, JOINTS[scene.relation])} " if len(nouns) == 2 else ""
    return _pick(rng, OPENINGS) + joint.join(nouns)


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _noun(thing: Thing, size: str, rng: np.random.Generator) -> str:
    adjectives = [word for word in (size, thing.color) if word]
    if thing.shape is None and rng.random() < 0.5:
        return " ".join(["something", *adjectives])
    phrase = " ".join([*adjectives, thing.shape or "thing"])
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
