"""The package's own world of coloured shapes as pictures with captions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from aimv2_np.data.drawing import draw
from aimv2_np.data.grammar import paraphrase
from aimv2_np.data.world import SEEN, Pair, Scene, caption, random_scene


@dataclass(frozen=True)
class World:
    """Pictures of one thing, or of two, with a sentence that tells all of it; each is drawn when it is asked for.

    Attributes:
        pictures: how many there are.
        pairs: of colour and shape that occur; those that the embedded model was tested on do not.
        two: the share of pictures that show two things.
        seed: another one is another set of pictures.
        plain: one wording for all, "a small red star above a large blue circle", in the place of many.
    """

    pictures: int = 160_000
    pairs: Sequence[Pair] = SEEN
    two: float = 0.6
    seed: int = 0
    plain: bool = False

    def __len__(self) -> int:
        return self.pictures

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        scene, rng = self.scene(number)
        picture = draw(scene, rng)
        return picture, caption(scene) if self.plain else paraphrase(scene, rng)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it was made with."""
        return {"world": {**asdict(self), "pairs": [" ".join(pair) for pair in self.pairs]}}

    def name(self, number: int) -> str:
        """What a picture is called in messages."""
        return f"picture {number} of the world"

    def scene(self, number: int) -> tuple[Scene, np.random.Generator]:
        """What is in a picture, and what it is drawn by."""
        rng = np.random.default_rng([self.seed, number])
        return random_scene(rng, self.pairs, 1 + int(rng.random() < self.two)), rng
