"""A pack of pictures of many sizes on all cores: each takes whole pictures through the blocks, some of them at once.

Pictures are dealt out so that the cores finish together: the costliest first, each to the job that has least to do
(Graham 1969, "Bounds on multiprocessing timing anomalies": longest processing time first). What would leave a core
idle, such as one picture larger than all others together, all cores work on at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heapreplace
from math import ceil

import numpy as np

from aimv2_np.backends.parallel import run
from aimv2_np.kernels.numpy.scratch import scratch
from aimv2_np.kernels.numpy.split import run_split
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.view import EVERYONE, Packed
from aimv2_np.shapes import NDArray

SLOWER_TOGETHER = 1.1  # a picture on all cores: their meetings, and products with less to do each
SLOWER_ATTENTION = 1.5  # a multiplication inside attention, with its softmax, against one with a weight: measured
EVEN_ENOUGH = 0.01  # of the whole time, that a core may idle at the end


@dataclass(frozen=True)
class Plan:
    """Which pictures, by number, go where.

    Attributes:
        jobs: each for one core, the costliest first.
        together: for all cores, one by one.
        seconds: how long that takes, in the unit of the costs.
    """

    jobs: list[list[int]]
    together: list[int]
    seconds: float


def run_packed(
    x: NDArray,
    layers: list[EncoderLayer],
    lengths: tuple[int, ...],
    through: Callable[..., NDArray],
    workers: int,
    step: int,
) -> NDArray:
    """All blocks on a pack x (1, T, D); `through(x, view)` takes a smaller one through them, on one core."""
    out = np.empty(x.shape, x.dtype)
    places = [keys for _, keys in Packed(lengths).slices()]

    def work(job: list[int]) -> None:
        with scratch():
            here = np.concatenate([x[:, places[i]] for i in job], axis=1)
            view = Packed(tuple(lengths[i] for i in job))
            done = through(here, view)
            for i, (n, _) in zip(job, view.slices(), strict=True):
                out[:, places[i]] = done[:, n]

    plan = make_plan(lengths, block_costs(layers[0], lengths), workers, step)
    run([partial(work, job) for job in plan.jobs], workers)
    for i in plan.together:
        with scratch():
            out[:, places[i]] = run_split(x[:, places[i]], layers, EVERYONE, workers, step * workers)
    return out


def block_costs(layer: EncoderLayer, lengths: Sequence[int]) -> list[float]:
    """Of a block on each picture, in multiplications with a weight."""
    size, inner = len(layer.ffn.down_proj.weight), len(layer.ffn.gate_proj.weight)
    return [n * (4 * size * size + 3 * size * inner) + SLOWER_ATTENTION * 2 * n * n * size for n in lengths]


def make_plan(lengths: Sequence[int], costs: Sequence[float], workers: int, step: int) -> Plan:
    """Jobs of about `step` tokens; pictures leave them for all cores as long as that makes the end come sooner."""
    alone = sorted(range(len(lengths)), key=lambda i: -costs[i])
    best = _dealt(alone, [], lengths, costs, workers, step)
    even = sum(costs) / workers
    while workers > 1 and alone and best.seconds > (1 + EVEN_ENOUGH) * even:
        of_each_length = {lengths[i]: i for i in alone}  # which of equal pictures goes makes no difference
        others = [
            _dealt([j for j in alone if j != i], [*best.together, i], lengths, costs, workers, step)
            for i in of_each_length.values()
        ]
        better = min(others, key=lambda plan: plan.seconds)
        if better.seconds >= best.seconds:
            break
        best = better
        alone.remove(best.together[-1])
    return best


def _dealt(
    alone: Sequence[int],
    together: list[int],
    lengths: Sequence[int],
    costs: Sequence[float],
    workers: int,
    step: int,
) -> Plan:
    """`alone`, the costliest first, in as many jobs as `step` asks for, equally many for each core."""
    count = ceil(sum(lengths[i] for i in alone) / (step * workers)) * workers
    shares = _deal(alone, [costs[i] for i in alone], min(count, len(alone)))
    loads = [sum(costs[i] for i in job) for job in shares]
    order = sorted(range(len(shares)), key=lambda j: -loads[j])
    ends = _deal(order, [loads[j] for j in order], workers)  # a core that has ended takes the next job
    last = max((sum(loads[j] for j in end) for end in ends), default=0.0)
    seconds = last + SLOWER_TOGETHER / workers * sum(costs[i] for i in together)
    return Plan([shares[j] for j in order], together, seconds)


def _deal(things: Sequence[int], costs: Sequence[float], count: int) -> list[list[int]]:
    """Each thing in turn to the one of `count` shares that costs least so far."""
    shares: list[list[int]] = [[] for _ in range(count)]
    heap = [(0.0, j) for j in range(count)]
    heapify(heap)
    for thing, cost in zip(things, costs, strict=True):
        load, j = heap[0]
        heapreplace(heap, (load + cost, j))
        shares[j].append(thing)
    return shares
