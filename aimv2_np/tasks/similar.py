"""All pairs of vectors whose cosine reaches a bound, without computing most of the cosines, and without missing one.

Let the columns of P (D, k) be orthonormal, and x and y of length one. What of them lies outside of P's span is r_x and
r_y long, and its dot product is at most r_x r_y (Cauchy-Schwarz):

    <x, y>  ≤  <Pᵀx, Pᵀy> + r_x r_y,    r_x = sqrt(1 - ‖Pᵀx‖²)

The right side is the dot product of two vectors of k + 1 numbers: (Pᵀx, r_x) and (Pᵀy, r_y). It is computed for all
pairs, block by block; the cosine itself, in float64, only of pairs where it reaches the bound. P is made of the leading
eigenvectors of the vectors' second moments, which leave the least outside, and k is what a sample of pairs says is
fastest: it is exact for any P and k.

How few pairs are left depends on the data. Of random vectors of 768 numbers, k = 96 leaves less than one in 10^5 at a
cosine of 0.95. Vectors that are all alike, with cosines around the bound, leave most pairs for any k < D, and take as
long as computing all cosines.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.parallel import one_blas_thread, pieces, usable_cores
from aimv2_np.errors import CheckpointError
from aimv2_np.processing.settings import as_count
from aimv2_np.tasks.components import Components, Rows
from aimv2_np.tasks.embedding.pipeline import ahead

TILE: Final = 1024  # vectors on either side of the pairs that a thread looks at together
SAMPLE: Final = 2048  # vectors that are asked what the others are like
SIZES: Final = (8, 16, 32, 48, 64, 96, 128, 192, 256)  # of k; four bytes for each and each vector are kept in memory
FIXED: Final = 6  # products: what a pair costs beside k of them, as measured
CHECKING: Final = 340  # times D products: what a cosine in float64 costs
NUMBERS: Final = 2**20  # that are converted at a time
SLACK: Final = 1e-6  # added to r²: more than rounding takes from it in float64
NO_ROWS: Final = np.empty(0, np.intp)

Tile = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows a < b, and their cosines."""

    a: Rows
    b: Rows
    cosines: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Space:
    """The vectors that are compared.

    Attributes:
        vectors: (N, D), of any dtype and length.
        short: (N, k + 1) float32, whose dot products are not below the cosines; zeros for zeros.
        scales: (N,) what each vector is times to have length one; 0 of zeros.
        least: the bound.
        known: what is connected already, where pairs of that are of no interest; None where all are.
    """

    vectors: Any
    short: NDArray[np.float32]
    scales: NDArray[np.float64]
    least: float
    known: Components | None = None


def similar_pairs(vectors: Any, least: float, *, threads: int | None = None) -> Iterator[Pairs]:
    """All pairs of rows whose cosine, in float64, is `least` or more: some at a time, always in the same order.

    Args:
        vectors: (N, D), or what gives rows of such when it is indexed; may be mapped from a file. Zeros are like
            nothing. The scale of a vector does not matter.
        least: above 0, at most 1.
        threads: how many cores to use; None for all.

    Raises:
        ValueError: a bound that no cosine reaches, or most do.
        CheckpointError: a vector that is not finite.
    """
    with _space(vectors, least, threads) as (space, each):
        for _, found in each(_pairs, space):
            yield found


def connected(
    vectors: Any, least: float, *, threads: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Rows:
    """(N,) of each row the first that a chain of such pairs leads to: its own number where that is none before it.

    Pairs of rows that are connected already are not looked at. See `similar_pairs`.

    Args:
        progress: called with how many of the vectors are compared with all later ones, and how many there are.
    """
    known, total = Components(len(vectors)), len(vectors)
    with _space(vectors, least, threads) as (space, each):
        for (rows, columns), (a, b) in each(_links, replace(space, known=known)):
            known.join(a, b)
            if progress and columns.stop == total:
                progress(rows.stop, total)
    return known.roots(np.arange(total))


@contextmanager
def _space(vectors: Any, least: float, threads: int | None) -> Iterator[tuple[_Space, Any]]:
    """What is compared, and `each(function, space)`: (tile, what the function makes of it), in order, by threads."""
    if not 0 < least <= 1:
        raise ValueError(f"least is {least!r:.80}; expected a cosine above 0, at most 1")
    threads = usable_cores() if threads is None else as_count(threads, "threads")
    with one_blas_thread(), ThreadPoolExecutor(threads, "similar") as pool:

        def each(function: Callable[[_Space, Tile], Any], space: _Space) -> Iterator[tuple[Tile, Any]]:
            tiles = _tiles(pieces(len(vectors), TILE))
            return ahead(pool, lambda tile: (tile, function(space, tile)), tiles, 4 * threads)

        yield _Space(vectors, *_shortened(vectors, _basis(vectors, least), pool, threads), least), each


def _tiles(blocks: list[slice]) -> Iterator[tuple[slice, slice]]:
    for i, rows in enumerate(blocks):
        yield from ((rows, columns) for columns in blocks[i:])


def _basis(vectors: Any, least: float) -> NDArray[np.float64]:
    """(D, k), orthonormal: the leading eigenvectors of the second moments of a sample, as many as are fastest."""
    every = max(1, len(vectors) // (2 * SAMPLE))
    sample = _unit(vectors[:: 2 * every][:SAMPLE])
    _, directions = np.linalg.eigh(sample.T @ sample)
    # Of other vectors these leave more outside than of those that they are made of.
    turned = _unit(vectors[every :: 2 * every][:SAMPLE]) @ directions[:, ::-1]
    products, above = np.zeros((len(turned),) * 2), np.triu(np.ones((len(turned),) * 2, np.bool_), 1)
    best, size = np.inf, 0
    width = turned.shape[1]
    for start, stop in zip((0, *SIZES), (*SIZES, width), strict=False):
        stop = min(stop, width)
        products += turned[:, start:stop] @ turned[:, start:stop].T
        rest = np.sqrt(np.maximum(1 - (turned[:, :stop] ** 2).sum(axis=1), 0))
        left = float(((products + rest[:, None] * rest) >= least)[above].mean()) if len(turned) > 1 else 0.0
        cost = FIXED + stop + min(1, CHECKING * left) * width
        if cost < best:
            best, size = cost, stop
        if stop == width or stop == SIZES[-1]:
            break
    return np.ascontiguousarray(directions[:, ::-1][:, :size])


def _shortened(
    vectors: Any, basis: NDArray[np.float64], pool: ThreadPoolExecutor, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """`short` and `scales` of a `_Space`."""
    short, scales = np.empty((len(vectors), basis.shape[1] + 1), np.float32), np.empty(len(vectors))

    def shorten(some: slice) -> None:
        block = vectors[some]
        check_finite(block, some.start)
        scales[some] = _scales(block)
        projected = (block * scales[some, None]) @ basis
        short[some, :-1] = projected
        rest = np.maximum(1 - (projected * projected).sum(axis=1), 0) + SLACK
        short[some, -1] = np.where(scales[some] > 0, np.sqrt(rest), 0)

    for _ in ahead(pool, shorten, pieces(len(vectors), max(1, NUMBERS // basis.shape[0])), 2 * threads):
        pass
    return short, scales


def _pairs(space: _Space, tile: Tile) -> Pairs:
    """The pairs of one tile, in the order of a, then b."""
    a, b, _ = _candidates(space, tile)
    found = cosines_of_pairs(space.vectors, a, b)
    kept = found >= space.least
    return Pairs(a[kept], b[kept], found[kept])


def _links(space: _Space, tile: Tile) -> tuple[Rows, Rows]:
    """Of the pairs of one tile those that connect what is not known to be; their cosines need not be known."""
    assert space.known is not None
    if space.known.are_one(*tile):
        return NO_ROWS, NO_ROWS
    a, b, linked = _candidates(space, tile)
    apart = space.known.are_apart(a, b)
    a, b, linked = a[apart], b[apart], linked[apart]
    linked[~linked] = cosines_of_pairs(space.vectors, a[~linked], b[~linked]) >= space.least
    return a[linked], b[linked]


def _candidates(space: _Space, tile: Tile) -> tuple[Rows, Rows, NDArray[np.bool_]]:
    """The pairs a < b of one tile whose cosine may reach the bound, and of which of them it does for sure.

    Where so many are left that computing each by itself would take longer, all cosines of the tile are computed at
    once: in float32, and if that is too coarse for many, in float64.
    """
    rows, columns = tile
    may = space.short[rows] @ space.short[columns].T >= space.least - _margin(space.short.shape[1], np.float32)
    sure: NDArray[np.bool_] | None = None
    for dtype in (np.float32, np.float64):
        if np.count_nonzero(may if sure is None else may & ~sure) * CHECKING <= may.size:
            break
        left, right = ((space.vectors[some] * space.scales[some, None]).astype(dtype) for some in tile)
        cosines, margin = left @ right.T, _margin(left.shape[1], dtype)
        sure = cosines >= space.least + margin
        may &= cosines >= space.least - margin
    at = np.flatnonzero(may)  # many times as fast as `nonzero` of two axes
    a, b = np.divmod(at, columns.stop - columns.start)
    known = np.zeros(len(at), np.bool_) if sure is None else sure.reshape(-1)[at]
    a, b = a + rows.start, b + columns.start
    if rows == columns:
        later = a < b
        a, b, known = a[later], b[later], known[later]
    return a, b, known


def _margin(size: int, dtype: type[np.floating[Any]]) -> float:
    """The bound of a dot product's error of vectors of length one that were rounded to `dtype`, twice."""
    return 4 * (size + 8) * float(np.finfo(dtype).eps)


def cosines_of_pairs(vectors: Any, a: Rows, b: Rows) -> NDArray[np.float64]:
    """(n,) the cosines of rows a and b, each pair by itself in float64: of a vector and itself exactly 1, of zeros 0.

    By the root of the product of the squares, which of two that are the same is the square itself.
    """
    result = np.empty(len(a))
    for some in pieces(len(a), max(1, NUMBERS // max(1, vectors.shape[1]))):
        left, right = vectors[a[some]].astype(np.float64), vectors[b[some]].astype(np.float64)
        squares = (left * left).sum(axis=1) * (right * right).sum(axis=1)
        result[some] = (left * right).sum(axis=1) / np.sqrt(np.where(squares == 0, 1, squares))
    return np.minimum(result, 1)


def _scales(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) what each row is times to have length one; 0 for zeros, and for what is not finite."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1))
    good = (lengths > 0) & np.isfinite(lengths)
    return np.where(good, 1 / np.where(good, lengths, 1), 0)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    scales = _scales(vectors)[:, None]
    return np.where(scales > 0, vectors, 0) * scales


def check_finite(vectors: NDArray[Any], start: int) -> None:
    """CheckpointError for vectors that are not finite, by the number of the row: `start` of the first."""
    if not np.isfinite(vectors).all():
        row = start + int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise CheckpointError(f"the vector in row {row} is not finite; write the file again")
