"""A small world of coloured shapes: what can be in a picture, and what can truly be said of it.

A `Scene` is one thing, or two things and where the first lies relative to the second. `caption` turns a scene into
English, `aimv2_np.data.drawing.draw` turns it into a picture. A scene may also be *partial* (attributes that are None):
then it is a statement that is true of many scenes, "a red thing", and `holds` says of which.

The embedded model `aimv2-tiny-shapes` was trained on this world without ever meeting the colour-shape pairs in
`HELD_OUT`, neither in a picture nor in a caption: what it makes of them is generalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "large")
RELATIONS = ("above", "below", "left of", "right of")
OPPOSITE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}

Pair = tuple[str, str]  # (colour, shape)
ALL_PAIRS: tuple[Pair, ...] = tuple((color, shape) for color in COLORS for shape in SHAPES)

# A fifth of the 64 pairs (13): the diagonal of the table of colours and shapes, and five cells of the diagonal three
# places on. Every colour and every shape misses one or two partners and is seen with the other six or seven.
HELD_OUT: tuple[Pair, ...] = tuple(
    pair for i, pair in enumerate(ALL_PAIRS) if (i % 8 - i // 8) % 8 == 0 or ((i % 8 - i // 8) % 8 == 3 and i // 8 < 5)
)
SEEN: tuple[Pair, ...] = tuple(pair for pair in ALL_PAIRS if pair not in HELD_OUT)


@dataclass(frozen=True)
class Thing:
    """One coloured shape. None leaves an attribute unsaid: `Thing("star")` is any star."""

    shape: str | None = None
    color: str | None = None
    size: str | None = None

    def __post_init__(self) -> None:
        for field, known in (("shape", SHAPES), ("color", COLORS), ("size", SIZES)):
            value = getattr(self, field)
            if value is not None and value not in known:
                raise ValueError(f"Thing has {field}={value!r}; this world knows {', '.join(known)}. Use one of these.")


@dataclass(frozen=True)
class Scene:
    """One thing, or two with `relation`: `things[0]` is above, below, left of or right of `things[1]`."""

    things: tuple[Thing, ...]
    relation: str | None = None

    def __post_init__(self) -> None:
        if len(self.things) not in (1, 2):
            raise ValueError(f"Scene has {len(self.things)} things; a picture holds one or two. Pass a tuple of these.")
        if self.relation is not None and (len(self.things) == 1 or self.relation not in RELATIONS):
            raise ValueError(
                f"Scene has relation={self.relation!r} between {len(self.things)} things; "
                f"two things can be {', '.join(RELATIONS)}. Use one of these, and None for a single thing."
            )

    @property
    def turned(self) -> "Scene":
        """The same fact told from the other thing: "A above B" is "B below A"."""
        return Scene(self.things[::-1], OPPOSITE[self.relation] if self.relation else None)


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def random_scene(rng: np.random.Generator, pairs: Sequence[Pair] = ALL_PAIRS, count: int = 1) -> Scene:
    """A complete scene of `count` (1 or 2) different things whose (colour, shape) are drawn uniformly from `pairs`."""

    def thing() -> Thing:
        color, shape = _pick(rng, pairs)
        return Thing(shape, color, _pick(rng, SIZES))

    first = thing()
    if count == 1:
        return Scene((first,))
    second = thing()
    while second == first:
        second = thing()
    return Scene((first, second), _pick(rng, RELATIONS))


def holds(statement: Scene, scene: Scene) -> bool:
    """Whether everything that the (partial) `statement` says is so in the complete `scene`, with nothing left over."""

    def fits(said: Thing, seen: Thing) -> bool:
        return all(a is None or a == getattr(seen, name) for name, a in vars(said).items())

    return len(statement.things) == len(scene.things) and any(
        statement.relation in (None, telling.relation) and all(map(fits, statement.things, telling.things))
        for telling in ((scene,) if len(scene.things) == 1 else (scene, scene.turned))
    )


def caption(scene: Scene) -> str:
    """English for a complete or partial scene: "a small red star above a large blue circle"."""
    return f" {scene.relation or 'and'} ".join(_noun(thing) for thing in scene.things)


def _noun(thing: Thing) -> str:
    phrase = " ".join(word for word in (thing.size, thing.color, thing.shape or "thing") if word)
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
