"""The embedded model's own world as files: drawings whose names say what they show."""

from pathlib import Path

from aimv2_np.data import sample_pictures


def draw_shapes(folder: Path, seeds: int) -> list[Path]:
    """Eight drawings per seed as PNG, in the order of their names; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for number, sample in enumerate(sample_pictures(seed)):
            sample.picture.save(folder / f"{seed:02d}{number} {sample.caption}.png")
    return sorted(folder.iterdir())
