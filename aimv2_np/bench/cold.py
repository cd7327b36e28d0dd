"""From nothing to the first feature, as a program does it: `python -m aimv2_np.bench.cold FOLDER [PICTURE [WHICH]]`.

WHICH, in JSON, is what else `load` is told. Says when it is done, then how much memory it took.
"""

import json
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.bench.talk import speak
from aimv2_np.models.auto import load
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.processing import Aimv2ImageProcessor

TOKENS = 16


def measure(folder: str, picture: str = "", **which: Any) -> None:
    """Load the model (`which`: options of `load`), prepare its input and run it; then tell.

    The input is the file `picture`; without one ("") some tokens for a text tower, a grey picture for another model.
    """
    marks = [time.perf_counter()]
    model: Any = load(folder, **which)
    marks.append(time.perf_counter())
    if picture:
        inputs = Aimv2ImageProcessor.from_pretrained(folder)(picture)["pixel_values"]
    elif isinstance(model, Aimv2TextModel):
        inputs = np.zeros((1, min(TOKENS, model.config.max_position_embeddings)), np.int64)
    else:
        vision = getattr(model.config, "vision_config", model.config)
        inputs = np.zeros((1, vision.num_channels, *vision.image_shape), np.float32)
    marks.append(time.perf_counter())
    to_numpy(model.get_image_features(inputs) if hasattr(model, "get_image_features") else model(inputs)[0])
    marks.append(time.perf_counter())
    speak(dict(zip(("load", "prepare", "run"), np.diff(marks).tolist(), strict=True)))
    from aimv2_np.bench.memory import read_memory

    speak(asdict(read_memory()))


if __name__ == "__main__":
    measure(*sys.argv[1:3], **json.loads("".join(sys.argv[3:]) or "{}"))
