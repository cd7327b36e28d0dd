"""From nothing to the first feature, as a program does it: `python -m aimv2_np.bench.cold FOLDER [PICTURE]`.

Without a picture the text tower gets some tokens. Says when it is done, then how much memory it took.
"""

import sys
import time
from dataclasses import asdict

import numpy as np

from aimv2_np.bench.talk import speak
from aimv2_np.models.auto import load
from aimv2_np.processing import Aimv2ImageProcessor

TOKENS = 16


def main() -> None:
    """Load, prepare the input, run; then tell."""
    folder, *picture = sys.argv[1:]
    marks = [time.perf_counter()]
    model = load(folder)
    marks.append(time.perf_counter())
    if picture:
        inputs = Aimv2ImageProcessor.from_pretrained(folder)(picture[0])["pixel_values"]
    else:
        inputs = np.zeros((1, min(TOKENS, model.config.max_position_embeddings)), np.int64)
    marks.append(time.perf_counter())
    getattr(model, "get_image_features", model)(inputs)
    marks.append(time.perf_counter())
    speak(dict(zip(("load", "prepare", "run"), np.diff(marks).tolist(), strict=True)))
    from aimv2_np.bench.memory import read_memory

    speak(asdict(read_memory()))


if __name__ == "__main__":
    main()
