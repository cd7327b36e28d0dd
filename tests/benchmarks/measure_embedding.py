"""How busy `embed` keeps the cores, and how fast it is: with the embedded model, or with a large random one.

    python tests/benchmarks/measure_embedding.py [--large] [--pictures N] [--side PIXELS] [--batch B]

Draws N JPEG pictures into a temporary folder and embeds them. "busy" is the processor time that the process got, of all
that its cores had; "busy or waiting" is how many of its threads were running or waiting for a core, looked at every
10 ms and counted up to the number of cores (Linux): where other processes take the cores, this is what counts.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.tasks import embed
from aimv2_np.tasks.embedding.pipeline import cores


def draw(folder: Path, number: int, side: int) -> None:
    """Noisy gradients: JPEG files as large as photographs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0 : side * 4 // 3] / side
    for i in range(number):
        a, b, c = rng.uniform(-1, 1, (3, 3))
        light = 128 + 60 * (a * x[..., None] + b * y[..., None]) + 20 * np.sin(30 * c * x[..., None])
        noisy = light + rng.normal(0, 8, light.shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{i:05d}.jpg", quality=90)


class Watch(threading.Thread):
    """How many threads run or wait for a core, looked at again and again: never more count than there are cores."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        own = threading.get_native_id()
        while not self.over.wait(0.01):
            tasks = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != own]
            states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
            self.samples.append(min(states.count("R"), cores()))


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--pictures", type=int, default=0)
    parser.add_argument("--side", type=int, default=480)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    number = options.pictures or (48 if options.large else 2000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pictures").mkdir()
        draw(folder / "pictures", number, options.side)
        model = None
        if options.large:
            model = folder / "model"
            Aimv2VisionModel(Aimv2VisionConfig()).save_pretrained(model)
            Aimv2ImageProcessor().save_pretrained(model)
        watch = Watch()
        watch.start()
        wall, processor = time.perf_counter(), sum(os.times()[:2])
        embed([folder / "pictures"], folder / "f.safetensors", model=model, batch_size=options.batch)
        wall, processor = time.perf_counter() - wall, sum(os.times()[:2]) - processor
        watch.over.set()
        watch.join()
    share = processor / wall / cores()
    wanted = np.mean(watch.samples) / cores()
    name = "large, random" if options.large else "aimv2-tiny-shapes"
    print(
        f"{name}: {number} pictures of {options.side * 4 // 3}x{options.side} in {wall:.1f} s, {number / wall:.2f}/s; "
        f"{cores()} cores {100 * share:.0f} % busy, {100 * wanted:.0f} % busy or waiting for other processes"
    )


if __name__ == "__main__":
    main()
