"""How fast a mix of picture sizes is, packed, against batches of one size: AIMv2-large-native with random weights.

    python tests/benchmarks/measure_packing.py [--layers N] [--repeat R] [--max-patches P]

The mix is twelve photographs from 200x300 to 1500x1000 pixels, in one call of `encode_images`. Against it stand:

    same sizes     for each size of the mix a batch of it, two pictures for each core, or one where they are large;
                   the time of one picture of it, summed over the mix
    equal sizes    a batch of as many pictures, all of one size, with the same number of patches in all; attention grows
                   with the square of a picture's patches, so it has less to compute: compare operations per second

Each of the three is run in turn, R times; medians count. The 24 layers are alike: N of them are run, and the time that
they take is counted 24 / N times. Where other processes have the cores too, go by the processor time, and by how long a
core idles by the plan.
"""

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.backends.operation import Operation, watching
from aimv2_np.backends.parallel import cores
from aimv2_np.bench.flops import picture_products, total_flops
from aimv2_np.kernels.numpy.cpu import JOB_TOKENS
from aimv2_np.kernels.numpy.packed import block_costs, make_plan
from aimv2_np.network.encoder import run_layers

PATCH, LAYERS = 14, 24
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
        self.model, self.sizes, self.layers = model, sizes, len(model.encoder.layers)
        self.patches = sum(map(patches, sizes))
        whole = replace(model.config, num_hidden_layers=LAYERS)
        self.flops = sum(total_flops(picture_products(whole, 1, *size)) for size in sizes)
        side = round((self.patches / len(sizes)) ** 0.5)
        self.equal = (side * PATCH, round(self.patches / len(sizes) / side) * PATCH)
        self.equal_flops = len(sizes) * total_flops(picture_products(whole, 1, *self.equal))

    def mix(self) -> Times:
        """The mix, packed."""
        pictures = [pixels(size)[0] for size in self.sizes]
        return timed(lambda: self.model.encode_images(pictures, warn=False, max_tokens=None), self.layers)

    def same_sizes(self) -> Times:
        """What the pictures of the mix would take if each were one of a batch of its size."""
        total = np.zeros(2)
        for size in self.sizes:
            batch = cores() * (2 if patches(size) < 1024 else 1)
            given = pixels(size, batch)
            total += timed(lambda given=given: self.model(given), self.layers) / batch
        return total

    def equal_sizes(self) -> Times:
        """As many pictures of one size."""
        given = pixels(self.equal, len(self.sizes))
        return timed(lambda: self.model(given), self.layers)

    def idle(self) -> float:
        """The share of the time that a core waits for another, by the plan of who does what."""
        lengths = tuple(map(patches, self.sizes))
        costs = block_costs(self.model.encoder.layers[0], lengths)
        return 1 - sum(costs) / cores() / make_plan(lengths, costs, cores(), JOB_TOKENS).seconds


class Blocks:
    """How long the blocks take, of all of a forward pass."""

    def __init__(self) -> None:
        self.seconds = np.zeros(2)

    def __call__(self, op: Operation, body: Callable, args: tuple, kwargs: dict) -> object:
        """Run an operation; `run_layers` holds all that are called in it."""
        if op is not run_layers:
            return body(*args, **kwargs)
        began = clocks()
        result = body(*args, **kwargs)
        self.seconds += clocks() - began
        return result


def clocks() -> Times:
    """Now, on the wall and in processor time of all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(work: Callable[[], object], layers: int) -> Times:
    """Seconds that `work`, which runs `layers` of the 24 layers, would take with all of them."""
    blocks = Blocks()
    with watching(blocks):
        began = clocks()
        work()
        total = clocks() - began
    return total + (LAYERS / layers - 1) * blocks.seconds


def main() -> None:
    """Measure, and print a line for each run and four in the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=1)
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
    machine = f"{cores()} cores, {platform.machine()}, NumPy {np.__version__}"
    print(f"{machine}; large-native, {options.layers} of {LAYERS} layers run")
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
