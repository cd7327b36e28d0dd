"""Queries, keys and values small enough for a page, for the computation behind a cell of an attention map.

    s_nm = q_n · k_m / √d,   a_nm = softmax_m(s_nm),   o_n = Σ_m a_nm v_m        of one layer and head

Each vector is stored as whole numbers times a scale of its own: of 16 bits where everything that is asked for fits, of
8 bits otherwise. What does not fit even so is left out: layers from the end of the order in which they are asked for,
then heads. The page says what it has, and how far scores are off at most.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.shapes import Array, Float

SCALE_BYTES = 4  # of each vector
TYPES: dict[int, np.dtype[Any]] = {1: np.dtype(np.int8), 2: np.dtype("<i2")}
LARGEST = {1: 127, 2: 32767}


class Choice(NamedTuple):
    """Of which layers and heads vectors are stored, and in how many bytes a number."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    width: int


def choose(tokens: int, size: int, layers: Sequence[int], heads: Sequence[int], budget: int) -> Choice:
    """The most that fits into `budget` bytes of N tokens, with vectors of `size` numbers.

    `layers` and `heads` are given with the most wanted first.
    """
    for width in (2, 1):
        if len(layers) * len(heads) * head_bytes(tokens, size, width) <= budget:
            return Choice(tuple(sorted(layers)), tuple(sorted(heads)), width)
    fit = max(0, budget) // head_bytes(tokens, size, 1)
    if fit >= len(heads):
        return Choice(tuple(sorted(layers[: fit // len(heads)])), tuple(sorted(heads)), 1)
    return Choice(tuple(layers[:1]) if fit else (), tuple(sorted(heads[:fit])), 1)


def head_bytes(tokens: int, size: int, width: int) -> int:
    """How many bytes the queries, keys and values of one head take."""
    return 3 * tokens * (size * width + SCALE_BYTES)


class Computations:
    """Vectors, packed as the layers come.

    Attributes:
        error: how far the scores from what is stored are off at most.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice, self.error, self.size = choice, 0.0, 0
        self._scales: list[NDArray[np.float32]] = []  # (3, N) of each layer and head
        self._values: list[NDArray[Any]] = []  # (3, N, d)
        self._waiting: tuple[Array, Array] | None = None

    def bytes_of(self, tokens: int, size: int) -> int:
        """How many bytes they will take."""
        return len(self.choice.layers) * len(self.choice.heads) * head_bytes(tokens, size, self.choice.width)

    def add(self, layer: int, q: Float[Array, "1 H N d"], k: Float[Array, "1 H N d"]) -> None:
        """Take queries and keys of a layer; `add_values` takes its values afterwards."""
        self.size = q.shape[-1]
        self._waiting = (q, k) if layer in self.choice.layers else None

    def add_values(self, layer: int, v: Float[Array, "1 H N d"]) -> None:
        """Pack a layer with its values."""
        if self._waiting is None:
            return
        vectors = [to_numpy(widen(it))[0].astype(np.float64) for it in (*self._waiting, v)]
        self._waiting = None
        for h in self.choice.heads:
            three = np.stack([it[h] for it in vectors])  # (3, N, d)
            scales, values = pack_vectors(three, self.choice.width)
            again = values[:2] * scales[:2, :, None].astype(np.float64)
            off = abs(again[0] @ again[1].T - three[0] @ three[1].T).max() * self.size**-0.5
            self.error = max(self.error, float(off))
            self._scales.append(scales)
            self._values.append(values)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """All scales and all whole numbers, one layer and head after the other, in their order."""
        empty = np.zeros(0, np.float32), np.zeros(0, TYPES[self.choice.width])
        return (np.stack(self._scales), np.stack(self._values)) if self._scales else empty


def pack_vectors(vectors: NDArray[Any], width: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Scales (…,) and whole numbers (…, d) of vectors (…, d), each off by half its scale at most."""
    most = LARGEST[width]
    scales = np.maximum(abs(vectors).max(axis=-1) / most, 1e-30).astype(np.float32)
    return scales, np.rint(vectors / scales[..., None]).clip(-most, most).astype(TYPES[width])
