"""Other views of a picture: some part of it, stretched to a square, and often its mirror image.

Random resized crops: Szegedy et al. 2014 (arXiv:1409.4842), section 6. AIMv2 was trained with parts of 40 to 100 % of
the area, 3/4 to 4/3 as wide as high, bicubic, half of them mirrored.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from PIL import Image, ImageOps

TRIES = 10  # at a part of the drawn shape that fits, before the largest one of an allowed shape is taken


@dataclass(frozen=True)
class Augmentation:
    """Which parts of a picture are shown.

    Attributes:
        area: the least and the largest share of the picture's area.
        ratio: the least and the largest width over height.
        flip: how often the part is mirrored; 0 where captions say what is left and what is right.
    """

    area: tuple[float, float] = (0.4, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name, high in (("area", 1.0), ("ratio", 100.0)):
            least, most = getattr(self, name)
            if not 0 < least <= most <= high:
                raise ValueError(f"{name} is {(least, most)}; expected two numbers, 0 < least <= largest <= {high:g}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is {self.flip}; expected a share from 0 to 1")

    def __call__(self, picture: Image.Image, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
        """A part of the picture, `size` = (height, width) pixels."""
        left, top, width, height = self.part(picture.size, rng)
        box = (left, top, left + width, top + height)
        part = picture.resize(size[::-1], Image.Resampling.BICUBIC, box=box)
        return ImageOps.mirror(part) if rng.random() < self.flip else part

    def part(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Left, top, width and height of a part of a picture of `size` = (width, height)."""
        full_width, full_height = size
        for _ in range(TRIES):
            area = full_width * full_height * rng.uniform(*self.area)
            ratio = exp(rng.uniform(log(self.ratio[0]), log(self.ratio[1])))
            width, height = round(sqrt(area * ratio)), round(sqrt(area / ratio))
            if 0 < width <= full_width and 0 < height <= full_height:
                left, top = rng.integers(full_width - width + 1), rng.integers(full_height - height + 1)
                return int(left), int(top), width, height
        width = min(full_width, max(1, round(full_height * self.ratio[1])))
        height = min(full_height, max(1, round(full_width / self.ratio[0])))
        return (full_width - width) // 2, (full_height - height) // 2, width, height
