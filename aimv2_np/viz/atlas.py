"""Attention small enough for a page: of each patch the patches that it looks at most, in 8 bits.

Per row of a map: its highest number in float32, the places of its `kept` highest numbers, and these as multiples of
1/255 of the highest. Where all N fit they are stored in order, without places. What does not fit is left out in this
order: patches that get little, single heads of some layers, whole layers. The page says what it has.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.shapes import Array, Float
from aimv2_np.viz.attention import attention_rows
from aimv2_np.viz.rollout import Rollout

KEPT = (128, 64, 48, 32, 24, 16, 12)  # patches per row, for as long as all heads of all layers fit
FEWER = (32, 24, 16)  # patches per row, where single heads are stored of some layers only
HEADS_OF = 3  # layers, at least, before patches are left out further
MEAN, ROLLOUT = -1, -2  # in the place of a head's number


class AtlasPlan(NamedTuple):
    """What is stored: the layers whose mean is, those whose heads are, and how many patches per row."""

    layers: tuple[int, ...]
    with_heads: tuple[int, ...]
    kept: int


class Kept(NamedTuple):
    """One map: of each row the places (N, kept) of its highest numbers, or (0,) when all are kept in their order; the
    highest (N,) of them; and all of them (N, kept) as multiples of 1/255 of it.
    """

    places: NDArray[Any]
    tops: NDArray[np.float32]
    values: NDArray[np.uint8]


def plan(tokens: int, layers: int, heads: int, budget: int) -> AtlasPlan:
    """The most that fits into `budget` bytes; ValueError when not even a single map does."""
    every = tuple(range(layers))
    for kept in (tokens, *(k for k in KEPT if k < tokens)):
        if (layers * (heads + 1) + 1) * map_bytes(tokens, kept) <= budget:
            return AtlasPlan(every, every, _most(tokens, layers * (heads + 1) + 1, budget))
    for kept in (k for k in FEWER if k < tokens):
        room = budget // map_bytes(tokens, kept) - layers - 1
        if room >= heads * min(HEADS_OF, layers):
            some = spread(layers, room // heads)
            return AtlasPlan(every, some, _most(tokens, layers + 1 + heads * len(some), budget))
    room = budget // map_bytes(tokens, min(FEWER[-1], tokens)) - 1
    if room < 1:
        raise ValueError(f"image has {tokens} patches, too many for a page; expected a smaller picture, or a .png")
    few = spread(layers, room)
    return AtlasPlan(few, (), _most(tokens, len(few) + 1, budget))


def map_bytes(tokens: int, kept: int) -> int:
    """How many bytes one map takes."""
    return tokens * (4 + kept + (0 if kept == tokens else kept * _places(tokens).itemsize))


class Atlas:
    """Maps, packed as the layers come."""

    def __init__(self, layers: int, budget: int) -> None:
        self.total, self.budget = layers, budget
        self.plan: AtlasPlan | None = None
        self.rollout = Rollout()
        self.names: list[tuple[int, int]] = []  # (layer, head), in the order in which maps are stored
        self.packed: list[Kept] = []

    def add(self, layer: int, q: Float[Array, "1 H N d"], k: Float[Array, "1 H N d"]) -> None:
        """Take the attention of one layer, one head at a time."""
        heads, tokens = q.shape[1], q.shape[2]
        if self.plan is None:
            self.plan = plan(tokens, self.total, heads, self.budget)
        mean: Any = 0
        for h in range(heads):
            weights = attention_rows(q[:, h : h + 1], k[:, h : h + 1])[:, 0]
            mean = mean + weights
            if layer in self.plan.with_heads:
                self._pack(layer, h, to_numpy(weights)[0])
        mean = mean / heads
        if layer in self.plan.layers:
            self._pack(layer, MEAN, to_numpy(mean)[0])
        self.rollout.add_mean(mean)

    def finish(self) -> None:
        """Pack the rollout, when all layers are there."""
        self._pack(self.total - 1, ROLLOUT, to_numpy(self.rollout.product)[0])

    def _pack(self, layer: int, head: int, weights: NDArray[Any]) -> None:
        assert self.plan is not None
        self.names.append((layer, head))
        self.packed.append(pack(weights, self.plan.kept))


def pack(weights: NDArray[Any], kept: int) -> Kept:
    """The `kept` highest numbers of each row of weights (N, N)."""
    tops = weights.max(axis=1).astype(np.float32)
    if kept == weights.shape[1]:
        places, chosen = np.zeros(0, _places(kept)), weights
    else:
        highest = np.argpartition(weights, -kept, axis=1)[:, -kept:]  # not sorted: of thousands, few are kept
        chosen = np.take_along_axis(weights, highest, axis=1)
        order = np.argsort(-chosen, axis=1)
        places = np.take_along_axis(highest, order, axis=1).astype(_places(weights.shape[1]))
        chosen = np.take_along_axis(chosen, order, axis=1)
    scale = np.where(tops > 0, tops, 1)[:, None]
    return Kept(places, tops, np.rint(chosen / scale * 255).astype(np.uint8))


def _most(tokens: int, maps: int, budget: int) -> int:
    """How many patches per row can be kept of so many maps: all, or as many as fit with their places."""
    if maps * map_bytes(tokens, tokens) <= budget:
        return tokens
    return min(tokens - 1, (budget // (maps * tokens) - 4) // (1 + _places(tokens).itemsize))


def _places(tokens: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if tokens <= 256 else "<u2" if tokens <= 65536 else "<u4")


def spread(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of the numbers below `count`, evenly spread and with the last."""
    if most == 1:
        return (count - 1,)
    return tuple(int(i) for i in np.linspace(0, count - 1, min(count, most)).round())
