"""How long `near_duplicates` takes over vectors some of which are there a second time, with a little noise.

    python -m tests.benchmarks.measure_duplicates [--rows N …] [--sizes D …] [--least COSINE] [--like random clustered]

"random": every direction alike. "clustered": all within a cone about their mean, in a thousand clusters, and longer in
some directions than in others (a power law), as vectors of photographs by other models are said to be.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from aimv2_np.tasks import near_duplicates
from tests.support.feature_files import write_features


def random(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """(rows, size), of no direction more than of another."""
    return rng.standard_normal((rows, size), dtype=np.float32)


def clustered(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """(rows, size); cosines of about 0.45 between any two, of 0.6 in a cluster."""
    spread = (1 + np.arange(size)) ** -0.5
    spread = (spread / np.linalg.norm(spread)).astype(np.float32)
    centres = rng.standard_normal((1000, size), dtype=np.float32)[rng.integers(0, 1000, rows)]
    vectors = (0.6 * rng.standard_normal((rows, size), dtype=np.float32) + 0.5 * centres) * spread
    vectors[:, 0] += 0.7
    return vectors


LIKE = {"random": random, "clustered": clustered}


def measure(rows: int, size: int, like: str, least: float) -> None:
    """Find the planted ones among so many vectors, and print one line."""
    rng = np.random.default_rng(0)
    vectors = LIKE[like](rng, rows, size)
    first = np.arange(rows // 100)
    noise = rng.standard_normal((len(first), size), dtype=np.float32)
    noise *= 0.2 * np.linalg.norm(vectors[first], axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    vectors[rows - 1 - first] = vectors[first] + noise  # a cosine of about 0.98
    with tempfile.TemporaryDirectory() as folder:
        file = write_features(Path(folder) / "features.safetensors", vectors)
        wall, busy = time.perf_counter(), sum(os.times()[:2])
        groups = near_duplicates(file, least)
        wall, busy = time.perf_counter() - wall, sum(os.times()[:2]) - busy
    pairs = {(group[0].row, hit.row) for group in groups for hit in group[1:]}
    planted = sum((int(row), int(rows - 1 - row)) in pairs for row in first)
    print(
        f"{rows} x {size}, {like}: {wall:.1f} s, {busy:.1f} s of processor time; {len(groups)} groups, {planted} of "
        f"{len(first)} planted pairs",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 768])
    parser.add_argument("--least", type=float, default=0.95)
    parser.add_argument("--like", nargs="+", default=list(LIKE), choices=list(LIKE))
    options = parser.parse_args()
    for rows in options.rows:
        for size in options.sizes:
            for like in options.like:
                measure(rows, size, like, options.least)


if __name__ == "__main__":
    main()
