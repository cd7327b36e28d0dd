"""How long `search` takes over random vectors in a file that is in the system's cache.

    python -m tests.benchmarks.measure_search [--rows N] [--sizes D …] [--rounds R]

Needs rows · size · 4 bytes of disk for each size in turn, and as much memory for the system's cache to hold.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from aimv2_np.tasks import search
from tests.support.feature_files import write_features


def measure(rows: int, size: int, rounds: int) -> None:
    """Search for so many random vectors and print one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.safetensors"
        rng = np.random.default_rng(0)
        file = write_features(path, rng.standard_normal((rows, size), dtype=np.float32))
        seconds, processor = [], []
        for _ in range(rounds + 1):  # the first fills the system's cache
            wall, busy = time.perf_counter(), sum(os.times()[:2])
            search(file, rng.standard_normal(size, dtype=np.float32), top=10)
            seconds.append(time.perf_counter() - wall)
            processor.append(sum(os.times()[:2]) - busy)
        print(
            f"{rows} x {size}, {path.stat().st_size / 1e9:.2f} GB: {np.median(seconds[1:]):.2f} s (least "
            f"{min(seconds[1:]):.2f}), {np.median(processor[1:]):.2f} s of processor time",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 768])
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    for size in options.sizes:
        measure(options.rows, size, options.rounds)


if __name__ == "__main__":
    main()
