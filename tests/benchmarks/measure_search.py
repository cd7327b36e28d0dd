"""How long `search` takes over random vectors in a file that is in the system's cache, and what it finds of float32's.

    python -m tests.benchmarks.measure_search [--rows N] [--sizes D …] [--stores STORE …] [--queries Q …] [--rounds R]

Needs rows · size · 4 bytes of disk for each size in turn, and the same again in fewer bytes; as much memory for the
system's cache to hold a file. The queries of which recall is told are vectors of the file with as much noise as they
are long. Random vectors are the hardest case: beyond the first, all others are almost equally far.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from aimv2_np.tasks import FeatureFile, recall, search_many
from aimv2_np.tasks.embedding.stored import FULL, STORES
from tests.support.feature_files import write_features

ASKED = 100  # queries of which recall is told


def measure(
    rows: int, size: int, rounds: int, stores: tuple[str, ...] = (FULL,), counts: tuple[int, ...] = (1,)
) -> None:
    """Search for so many random vectors and print a line for each way to store them and each number of queries."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, size), dtype=np.float32)
    asked = vectors[rng.integers(0, rows, ASKED)] + rng.standard_normal((ASKED, size), dtype=np.float32)
    expected = None
    for store in stores:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "features.safetensors"
            file = write_features(path, vectors, store=store)
            print(f"{rows} x {size}, {store}, {path.stat().st_size / 1e9:.2f} GB", end="", flush=True)
            found = search_many(file, asked)
            expected = expected or found
            print("" if expected is found else f", recall@10 {recall(found, expected):.4f}", flush=True)
            for count in counts:
                _time(file, rng.standard_normal((rounds + 1, count, size), dtype=np.float32))


def _time(file: FeatureFile, queries: np.ndarray) -> None:
    seconds, processor = [], []
    for some in queries:  # the first fills the system's cache
        wall, busy = time.perf_counter(), sum(os.times()[:2])
        search_many(file, some, top=10)
        seconds.append(time.perf_counter() - wall)
        processor.append(sum(os.times()[:2]) - busy)
    print(
        f"    {len(some)} at once: {np.median(seconds[1:]):.3f} s (least {min(seconds[1:]):.3f}), "
        f"{np.median(processor[1:]):.2f} s of processor time",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 768])
    parser.add_argument("--stores", nargs="+", default=list(STORES), choices=list(STORES))
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    for size in options.sizes:
        measure(options.rows, size, options.rounds, tuple(options.stores), tuple(options.queries))


if __name__ == "__main__":
    main()
