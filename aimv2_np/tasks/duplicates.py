"""Pictures that are there twice, or nearly: groups of those whose vectors are alike.

Two pictures are in one group where their cosine reaches a bound, or where a chain of such pairs leads from one to the
other: connected components. All pairs are compared (see `similar`): no group is missed, and none depends on the order.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.parallel import pieces
from aimv2_np.errors import CheckpointError
from aimv2_np.tasks.embedding.feature_file import FeatureFile
from aimv2_np.tasks.search import Hit
from aimv2_np.tasks.similar import check_finite, connected, cosines_of_pairs

LEAST: Final = 0.95
READ: Final = 2**22  # bytes of vectors that are looked at together

Rows = NDArray[np.intp]


def near_duplicates(
    features: FeatureFile,
    least: float = LEAST,
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Hit]]:
    """The groups of pictures that are alike, each of two at least.

    Args:
        features: as from `open_features`; of any kind but "tokens". Of Parquet all vectors are read into memory.
        least: the cosine from which on two pictures are alike; above 0, at most 1.
        threads: how many cores to use; None for all.
        progress: called with how many pictures are compared with all others, and how many there are.

    Returns:
        The groups in the order of their first pictures in the file, and in each its pictures in that order, with their
        cosines with its first: 1 of that itself, and below `least` where only others lead to it.

    Raises:
        ValueError: features of patches; a bound that is no such cosine.
        CheckpointError: vectors in the file that are not finite.
    """
    features.check_one_per_picture()
    vectors = features.all_directions()
    try:
        parents = same_rows(vectors)
        distinct = np.flatnonzero(parents == np.arange(len(parents)))
        some = vectors if len(distinct) == len(vectors) else _Chosen(vectors, distinct)
        roots = connected(some, least, threads=threads, progress=progress)
    except CheckpointError as error:
        raise CheckpointError(f"{features.path}: {error}") from error
    parents[distinct] = distinct[roots]  # of each distinct row, the first of its group
    parents = parents[parents]  # a row that is the same as an earlier one has that one's
    return _groups(features, vectors, parents)


def same_rows(vectors: NDArray[Any]) -> Rows:
    """(N,) of each row the first that has the same bytes: its own number, where there is none before it.

    Raises CheckpointError for a row that is not finite.
    """
    firsts: dict[bytes, int] = {}
    result = np.empty(len(vectors), np.intp)
    for some in pieces(len(vectors), max(1, READ // max(1, vectors[:1].nbytes))):
        block = np.ascontiguousarray(vectors[some])
        check_finite(block, some.start)
        for row, each in enumerate(block, some.start):
            result[row] = firsts.setdefault(blake2b(each, digest_size=16).digest(), row)
    return result


class _Chosen:
    """Some rows of an array, in an order of their own, read when they are asked for."""

    def __init__(self, vectors: NDArray[Any], rows: Rows) -> None:
        self._vectors, self._rows = vectors, rows
        self.shape = (len(rows), *vectors.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        some: NDArray[Any] = self._vectors[self._rows[rows]]
        return some


def _groups(features: FeatureFile, vectors: NDArray[Any], firsts: Rows) -> list[list[Hit]]:
    sizes = np.bincount(firsts, minlength=len(firsts))
    rows = np.flatnonzero(sizes[firsts] > 1)
    rows = rows[np.argsort(firsts[rows], kind="stable")]
    scores = cosines_of_pairs(vectors, firsts[rows], rows)
    scores[firsts[rows] == rows] = 1  # of zeros, too
    hits = [Hit(row, features.names[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]
    groups, start = [], 0
    for size in sizes[sizes > 1].tolist():
        groups.append(hits[start : start + size])
        start += size
    return groups
