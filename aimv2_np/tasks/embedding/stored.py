"""What vectors are stored as: float32, or in fewer bytes as float16, or as int8 with a scale for each vector.

    int8    x ≈ s n,  s = max|x_i| / 127,  n_i = x_i / s, rounded to a whole number

A vector's direction is that of n: its cosines need no scale. `encode` writes vectors and measures what they lose by it,
`Stored` gives them back as float32, a few rows at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.parallel import pieces
from aimv2_np.files.atomic import naming_path

LARGEST: Final = 127  # of the whole numbers; -128 has no counterpart
# Scales: that of zeros, too; and one that 127 does not make infinite.
TINY: Final = np.finfo(np.float32).tiny
HUGE: Final = np.nextafter(np.finfo(np.float32).max / np.float32(LARGEST), np.float32(0))
BLOCK: Final = 2**20  # numbers that are converted at a time
FULL: Final = "float32"


@dataclass(frozen=True, eq=False)
class Stored:
    """Vectors (…, D) that become float32 when rows are asked for: `stored[7]`, `stored[10:20]`, `stored[[3, 1]]`.

    `np.asarray(stored)` makes float32 of all of them.

    Attributes:
        numbers: (…, D) float16, or whole numbers of int8.
        scales: (…) float32, of each vector; None where the numbers are what they are.
    """

    numbers: NDArray[Any]
    scales: NDArray[np.float32] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D), or (N, T, D)."""
        return self.numbers.shape

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.numbers.ndim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """What rows come out in."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: int | slice | Sequence[int] | NDArray[Any]) -> NDArray[np.float32]:
        if isinstance(rows, tuple):
            raise TypeError(f"rows is {rows!r:.80}; expected whole rows: take these first, and columns of the result")
        wide = self.numbers[rows].astype(np.float32)
        if self.scales is not None:
            wide *= self.scales[rows][..., None]
        return wide

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("copy is False, and vectors that are stored in fewer bytes become float32 in a copy")
        return self[:].astype(np.float32 if dtype is None else dtype, copy=False)


def as_floats(numbers: NDArray[Any], scales: NDArray[np.float32] | None) -> NDArray[np.float32] | Stored:
    """The numbers of a file as they are, where they are floats of four bytes or more; else what makes such of them."""
    return numbers if scales is None and numbers.itemsize >= 4 else Stored(numbers, scales)


def _to_int8(block: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    largest = np.abs(block).max(axis=-1)
    scales = (largest / np.float32(LARGEST)).clip(TINY, HUGE)
    return np.rint(block / scales[..., None]).clip(-LARGEST, LARGEST).astype(np.int8), scales


def _to_float16(block: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    return block.astype(np.float16), None


# What vectors are stored as → float32 (…, D) as such numbers, and their scales.
STORES: Final[dict[str, Callable[[NDArray[np.float32]], tuple[NDArray[Any], NDArray[np.float32] | None]]]] = {
    FULL: lambda block: (block, None),
    "float16": _to_float16,
    "int8": _to_int8,
}


def check_store(store: str) -> None:
    """ValueError unless vectors can be stored so."""
    if store not in STORES:
        raise ValueError(f"store is {store!r:.80}; expected one of {', '.join(STORES)}")


def encode(
    arrays: Mapping[str, NDArray[Any]], store: str, folder: Path
) -> tuple[dict[str, NDArray[Any]], float | None]:
    """The arrays of a file with "features" as `store` has them, and the largest 1 - cosine of what that changes.

    Vectors that come from such a file are stored as they were, to the bit, and lose nothing. See `Stored`.

    Args:
        arrays: "features" (…, D) float32, and others, which are left as they are.
        store: one of `STORES`.
        folder: for the new numbers, which are mapped from files there and never in memory as a whole.

    Raises:
        ValueError: vectors that are not finite, or too large for float16.
    """
    if store == FULL:
        return dict(arrays), None
    features, path = arrays["features"], folder / f"{store}.bin"
    flat = features.reshape(-1, features.shape[-1])
    scales = np.ones(len(flat), np.float32)
    largest = 0.0
    with naming_path(path), path.open("wb") as file:
        for some in pieces(len(flat), max(1, BLOCK // flat.shape[1])):
            block = np.asarray(flat[some], np.float32)
            with np.errstate(over="ignore", invalid="ignore"):  # which is told
                numbers, scale = STORES[store](block)
            found = Stored(numbers, scale)[:]
            _check(block, found, store, some.start)
            file.write(numbers.data)
            if scale is not None:
                scales[some] = scale
            largest = max(largest, float(_turned(block, found).max()))
    result = {**arrays, "features": _mapped(path, store, features.shape)}
    if store == "int8":
        result["scales"] = scales.reshape(features.shape[:-1])
    return result, largest


def _mapped(path: Path, store: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if not path.stat().st_size:
        return np.empty(shape, store)
    return np.memmap(path, store, "r", shape=shape).view(np.ndarray)


def _check(block: NDArray[np.float32], found: NDArray[np.float32], store: str, start: int) -> None:
    bad = np.flatnonzero(~(np.isfinite(found) & np.isfinite(block)).all(axis=1))
    if bad.size:
        row, largest = start + int(bad[0]), float(np.abs(block[bad[0]]).max())
        raise ValueError(
            f"vector {row} has a number of {largest:.3g}, which {store} cannot hold; choose another --store (store=…): "
            "what is computed is kept, and not computed again"
        )


def _turned(block: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cosine of each vector with what it was, in float64; of zeros that stay zeros none.

    From their difference at length one, |a - b|² / 2: the cosines themselves are too near to one to be taken from it.
    """
    unit = [_unit(vectors.astype(np.float64)) for vectors in (block, found)]
    difference = unit[0] - unit[1]
    result: NDArray[np.float64] = (difference * difference).sum(axis=1) / 2
    return result


def _unit(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return wide / np.where(lengths == 0, 1, lengths)
