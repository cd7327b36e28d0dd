"""How fast a mix of picture sizes is, packed, against batches of one size: AIMv2-large-native with random weights.

    python tests/benchmarks/measure_packing.py [--layers N] [--repeat R] [--max-patches P]

The mix is twelve photographs from 200x300 to 1500x1000 pixels, in one call of `encode_images`. Against it stand:

    same sizes     for each size of the mix a batch of it, two pictures for each core, or one where they are large;
                   the time of one picture of it, summed over the mix
    equal sizes    a batch of as many pictures, all of one size, with the same number of patches in all; attention grows
                   with the square of a picture's patches, so it has less to compute: compare operations per second

Each of the three is run in turn, R times; medians count. The layers are alike: a few of them say what all 24 would.
Where other processes have the cores too, go by the processor time, and by how long a core idles by the plan.
"""

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.bench.flops import picture_products, total_flops
from aimv2_np.kernels.cpu import JOB_TOKENS
from aimv2_np.kernels.packed import block_costs, make_plan
from aimv2_np.parallel import cores

PATCH = 14
Times = np.ndarray  # (2,): seconds on the clock, and of processor time
# (height, width) in pixels.
PHOTOGRAPHS = (
    (300, 200), (200, 300), (240, 320), (300, 400), (375, 500), (640, 480), (427, 640), (480, 640), (600, 800),
    (1024, 768), (683, 1024), (1000, 1500),
)  # fmt: skip


def pixels(size: tuple[int, int], batch: int = 1) -> np.ndarray:
    """Noise of the size of a picture."""
    return np.random.default_rng(0).standard_normal((batch, 3, *size), dtype=np.float32)


def patches(size: tuple[int, int]) -> int:
    """Of a picture."""
    return (size[0] // PATCH) * (size[1] // PATCH)


def scaled(size: tuple[int, int], most: int) -> tuple[int, int]:
    """A size of at most `most` patches, in proportion."""
    scale = min(1.0, (most * PATCH**2 / (size[0] * size[1])) ** 0.5)
    return int(size[0] * scale), int(size[1] * scale)


class Race:
    """The three ways to encode as many patches."""

    def __init__(self, model: Aimv2VisionModel, sizes: list[tuple[int, int]]) -> None:
        self.model, self.sizes = model, sizes
        self.patches = sum(map(patches, sizes))
        self.flops = sum(total_flops(picture_products(model.config, 1, *size)) for size in sizes)
        side = round((self.patches / len(sizes)) ** 0.5)
        self.equal = (side * PATCH, round(self.patches / len(sizes) / side) * PATCH)
        self.equal_flops = len(sizes) * total_flops(picture_products(model.config, 1, *self.equal))

    def mix(self) -> Times:
        """The mix, packed."""
        pictures = [pixels(size)[0] for size in self.sizes]
        return timed(lambda: self.model.encode_images(pictures, warn=False, max_tokens=None))

    def same_sizes(self) -> Times:
        """What the pictures of the mix would take if each were one of a batch of its size."""
        total = np.zeros(2)
        for size in self.sizes:
            batch = cores() * (2 if patches(size) < 1024 else 1)
            given = pixels(size, batch)
            total += timed(lambda given=given: self.model(given)) / batch
        return total

    def equal_sizes(self) -> Times:
        """As many pictures of one size."""
        given = pixels(self.equal, len(self.sizes))
        return timed(lambda: self.model(given))

    def idle(self) -> float:
        """The share of the time that a core waits for another, by the plan of who does what."""
        lengths = tuple(map(patches, self.sizes))
        costs = block_costs(self.model.encoder.layers[0], lengths)
        return 1 - sum(costs) / cores() / make_plan(lengths, costs, cores(), JOB_TOKENS).seconds


def timed(work: Callable[[], object]) -> Times:
    """Seconds on the clock, and of processor time of all threads."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - wall, time.process_time() - processor])


def main() -> None:
    """Measure, and print a line for each run and four in the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--max-patches", type=int, default=4096)
    options = parser.parse_args()
    config = Aimv2VisionConfig(is_native=True, use_head=False, num_hidden_layers=options.layers)
    sizes = [scaled(size, options.max_patches) for size in PHOTOGRAPHS]
    race = Race(Aimv2VisionModel(config), sizes)
    race.model.encode_images([pixels((300, 300))[0]] * 2)
    times: dict[str, list[Times]] = {"mix": [], "same_sizes": [], "equal_sizes": []}
    for _ in range(options.repeat):
        for name, found in times.items():
            found.append(getattr(race, name)())
            print(f"{name}: {found[-1][0]:.2f} s, {found[-1][1]:.2f} s of processor time", flush=True)
    mix, same, equal = (np.median(found, axis=0) for found in times.values())
    print(f"{cores()} cores, {platform.machine()}, NumPy {np.__version__}; large-native, {options.layers} layers")
    print(
        f"{len(sizes)} pictures, {race.patches} patches ({min(map(patches, sizes))} to {max(map(patches, sizes))} "
        f"each); by its plan a core idles {100 * race.idle():.1f} % of the time"
    )
    rate = race.flops / mix / 1e9
    print(f"mix: {mix[0]:.2f} s; {rate[0]:.0f} GFLOP/s, {rate[1]:.0f} per second of processor time")
    for name, seconds, flops in (("same sizes", same, race.flops), ("equal sizes", equal, race.equal_flops)):
        other = flops / seconds / 1e9
        print(
            f"{name}: {seconds[0]:.2f} s; {other[0]:.0f} GFLOP/s, {other[1]:.0f} per second of processor time; the mix "
            f"does {rate[0] / other[0]:.3f} x, {rate[1] / other[1]:.3f} x as much in a second"
        )


if __name__ == "__main__":
    main()
