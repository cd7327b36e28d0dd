"""The embedded checkpoint and the small world of coloured shapes that it was trained on.

What comes with the package, and what draws and describes its pictures, belongs here; pictures and models of the user's
do not. Nothing is read or drawn before it is asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Sample", "sample_pictures", "tiny_golden_path", "tiny_model_path"]


@dataclass(frozen=True)
class Sample:
    """A drawn picture (64x64 RGB), the caption that is true of it, and whether training ever met all its pairs."""

    picture: "Image.Image"
    caption: str
    seen: bool


def tiny_model_path() -> Path:
    """The folder of `aimv2-tiny-shapes`, as `from_pretrained` takes it.

    Raises FileNotFoundError if the package was installed without its data.
    """
    folder = Path(__file__).parent / "aimv2-tiny-shapes"
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"{folder} holds no model.safetensors; the package brings its tiny checkpoint along. Install it again."
        )
    return folder


def tiny_golden_path() -> Path:
    """The recording of what Transformers computes with `aimv2-tiny-shapes`, as `aimv2_np.comparison` reads it.

    Raises FileNotFoundError if the package was installed without its data.
    """
    path = Path(__file__).parent / "aimv2-tiny-shapes.golden.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; the package brings its golden outputs along. Install it again.")
    return path


def sample_pictures(seed: int = 0) -> list[Sample]:
    """Eight pictures: three single things of pairs seen in training, two of unseen pairs, and three of two things."""
    import numpy as np

    from aimv2_np.data.drawing import draw
    from aimv2_np.data.world import HELD_OUT, SEEN, caption, random_scene

    rng = np.random.default_rng(seed)
    wanted = [(SEEN, 1)] * 3 + [(HELD_OUT, 1)] * 2 + [(SEEN, 2)] * 3
    scenes = [random_scene(rng, pairs, count) for pairs, count in wanted]
    return [
        Sample(draw(scene, rng), caption(scene), seen=pairs is SEEN)
        for scene, (pairs, _) in zip(scenes, wanted, strict=True)
    ]
