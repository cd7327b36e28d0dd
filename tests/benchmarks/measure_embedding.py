"""How fast `embed` is, how busy it keeps the cores and what memory it takes, with the embedded or a large random model.

    python tests/benchmarks/measure_embedding.py [--large] [--pictures N …] [--side PIXELS] [--batch B]

For each N, in a process of its own: draws N JPEG pictures into a temporary folder and embeds them. "busy" is the
processor time that the process got, of all that its cores had; "busy or waiting" is how many of its threads were
running or waiting for a core, looked at every 10 ms and counted up to the number of cores (Linux): where other
processes take the cores, this is what counts. "own" is the most memory that belongs to no file. The first second, in
which the model is opened, is in all of it.
"""

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench.memory import read_memory
from aimv2_np.cli.output import bytes_of
from aimv2_np.tasks import embed


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
    """Looks again and again at memory, and how many threads run or wait for a core: at most as many as cores."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[int] = []
        self.own_bytes = 0
        self.over = threading.Event()

    def run(self) -> None:
        own = threading.get_native_id()
        while not self.over.wait(0.01):
            tasks = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != own]
            states = [state(task) for task in tasks]
            self.samples.append(min(states.count("R"), usable_cores()))
            if len(self.samples) % 10 == 1:
                self.own_bytes = max(self.own_bytes, read_memory().anonymous or 0)


def state(task: Path) -> str:
    """ "R" of a thread that runs or waits for a core; nothing of one that has ended."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def measure(number: int, side: int, batch: int, large: bool) -> None:
    """Embed so many pictures and print one line."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pictures").mkdir()
        draw(folder / "pictures", number, side)
        model = None
        if large:
            model = folder / "model"
            Aimv2VisionModel(Aimv2VisionConfig()).save_pretrained(model)
            Aimv2ImageProcessor().save_pretrained(model)
        watch = Watch()
        watch.start()
        wall, processor = time.perf_counter(), sum(os.times()[:2])
        embed([folder / "pictures"], folder / "f.safetensors", model=model, batch_size=batch)
        wall, processor = time.perf_counter() - wall, sum(os.times()[:2]) - processor
        watch.over.set()
        watch.join()
    cores = usable_cores()
    print(
        f"{'large, random' if large else 'aimv2-tiny-shapes'}: {number} pictures of {side * 4 // 3}x{side} in "
        f"{wall:.1f} s, {number / wall:.2f}/s; {cores} cores {100 * processor / wall / cores:.0f} % busy, "
        f"{100 * np.mean(watch.samples) / cores:.0f} % busy or waiting for other processes; "
        f"{bytes_of(watch.own_bytes)} of its own",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--pictures", type=int, nargs="+")
    parser.add_argument("--side", type=int, default=480)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    for number in options.pictures or [48 if options.large else 2000]:
        args = (number, options.side, options.batch, options.large)
        one = multiprocessing.get_context("spawn").Process(target=measure, args=args)
        one.start()
        one.join()


if __name__ == "__main__":
    main()
