"""Statements about the small world that are true of many scenes: what training says, and whether it is so."""

from dataclasses import replace

import numpy as np

from aimv2_np.data.world import Scene, Thing


def forget(scene: Scene, rng: np.random.Generator, chance: float = 0.5) -> Scene:
    """A partial scene that is true of `scene`: each attribute is dropped with probability `chance`."""
    keep = rng.random((len(scene.things), 3)) >= chance
    things = tuple(
        Thing(thing.shape if k[0] else None, thing.color if k[1] else None, thing.size if k[2] else None)
        for thing, k in zip(scene.things, keep, strict=True)
    )
    return replace(scene, things=things, relation=None if rng.random() < chance else scene.relation)


def holds(statement: Scene, scene: Scene) -> bool:
    """Whether everything that the (partial) `statement` says is so in the complete `scene`, with nothing left over."""

    def fits(said: Thing, seen: Thing) -> bool:
        return all(a is None or a == getattr(seen, name) for name, a in vars(said).items())

    return len(statement.things) == len(scene.things) and any(
        statement.relation in (None, telling.relation) and all(map(fits, statement.things, telling.things))
        for telling in ((scene,) if len(scene.things) == 1 else (scene, scene.turned))
    )
