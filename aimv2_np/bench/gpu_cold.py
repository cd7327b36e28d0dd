"""From nothing to the first feature on a GPU: `python -m aimv2_np.bench.gpu_cold FOLDER DTYPE DEVICE PICTURE`.

Says when it is done, then how much memory of the host it took. Without a picture (""), noise is looked at.
"""

import sys
import time
from dataclasses import asdict

import numpy as np

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.bench.memory import read_memory
from aimv2_np.bench.talk import speak
from aimv2_np.models.auto import load
from aimv2_np.processing import Aimv2ImageProcessor


def main() -> None:
    """Load, prepare the input, run; then tell."""
    folder, dtype, device, picture = sys.argv[1:]
    marks = [time.perf_counter()]
    model = load(folder, backend="cupy", dtype=dtype, device=int(device))
    marks.append(time.perf_counter())
    if picture:
        pixels = Aimv2ImageProcessor.from_pretrained(folder)(picture)["pixel_values"]
    else:
        vision = getattr(model.config, "vision_config", model.config)
        pixels = np.zeros((1, vision.num_channels, *vision.image_shape), np.float32)
    marks.append(time.perf_counter())
    found = model.get_image_features(pixels) if hasattr(model, "get_image_features") else model(pixels)[0]
    to_numpy(found)
    marks.append(time.perf_counter())
    speak(dict(zip(("load", "prepare", "run"), np.diff(marks).tolist(), strict=True)))
    speak(asdict(read_memory()))


if __name__ == "__main__":
    main()
