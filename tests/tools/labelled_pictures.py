"""Draw labelled pictures of the package's world, in folders by shape: `python -m tests.tools.labelled_pictures FOLDER`.

FOLDER/train gets 100 pictures of each of the eight shapes and FOLDER/test 50, of all colours and sizes: those that
docs/classify.md was measured on.
"""

import sys
from pathlib import Path

import numpy as np

from aimv2_np.data.drawing import draw
from aimv2_np.data.world import ALL_PAIRS, SHAPES, random_scene

SETS = {"train": 100, "test": 50}


def draw_classes(folder: Path, sets: dict[str, int] = SETS) -> None:
    """`sets`: name of a folder → pictures of each shape in it."""
    for seed, (name, count) in enumerate(sets.items()):
        rng = np.random.default_rng(seed)
        for shape in SHAPES:
            place = folder / name / shape
            place.mkdir(parents=True)
            pairs = [pair for pair in ALL_PAIRS if pair[1] == shape]
            for number in range(count):
                draw(random_scene(rng, pairs), rng).save(place / f"{number:03}.png")


if __name__ == "__main__":
    draw_classes(Path(sys.argv[1]))
