"""Which pictures of many are nearest to a text or a picture: all of them are compared, none is missed.

    score_n = <q, x_n> / (‖q‖ ‖x_n‖)

The products are taken in float32, block by block over the mapped file, for all queries in one pass. What float32's
rounding could have put in the wrong place is computed again in float64, so the order is that of the exact cosines of
what is stored, be it float32, float16 or int8; equal ones go by their row.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import translate
from functools import partial
from heapq import nlargest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.dots import STORED, dots
from aimv2_np.backends.parallel import one_blas_thread, usable_cores
from aimv2_np.errors import CheckpointError, mismatch
from aimv2_np.processing.settings import as_count
from aimv2_np.tasks.embedding.feature_file import FeatureFile
from aimv2_np.tasks.embedding.pipeline import ahead
from aimv2_np.tasks.query import check_query

BLOCK_BYTES: Final = 2**22  # of features that a thread works on at a time, so that a cache holds them
SCORES: Final = 2**22  # that a thread computes at a time
NO_SCORE: Final = -2.0  # below all cosines

Found = list[tuple[float, int]]  # (score, -row), the best first


@dataclass(frozen=True)
class Hit:
    """A picture that was found: its row in the file, its name, and its cosine with what was searched for (-1 to 1)."""

    row: int
    name: str
    score: float


@dataclass(frozen=True, eq=False)
class _Task:
    """What is searched for, and in which rows.

    Attributes:
        queries: (Q, D) float64, of length one.
        rows: (N,), which rows count; None for all.
        floor: (Q,), a score that the best of a block have to reach, which grows while blocks are searched.
    """

    features: FeatureFile
    queries: NDArray[np.float64]
    top: int
    least: float
    rows: NDArray[np.bool_] | None
    floor: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "floor", np.full(len(self.queries), max(self.least, NO_SCORE)))


def search(
    features: FeatureFile,
    query: Any,
    top: int = 10,
    *,
    least: float = -1.0,
    names: Sequence[str] = (),
    threads: int | None = None,
) -> list[Hit]:
    """The `top` pictures whose vectors have the largest cosines with `query`, largest first, equal ones by row.

    Args:
        features: as from `open_features`; of any kind but "tokens".
        query: (D,), a vector of the same kind, as from `embed_query` or `combine_queries`; its length does not matter.
        top: how many; all of them where there are fewer.
        least: leave out pictures whose cosine is smaller.
        names: search only pictures whose name matches one of these patterns, as in a shell: `holiday/*`, where a star
            stands for slashes, too; none: all pictures.
        threads: how many cores to use; None for all.

    Raises:
        ValueError: features of patches; a query that has another size, is zero or not finite; `top` below 1; patterns
            that no name matches.
        CheckpointError: vectors in the file that are not finite.
    """
    return search_many(features, [query], top, least=least, names=names, threads=threads)[0]


@own_arithmetic()
def search_many(
    features: FeatureFile,
    queries: Sequence[Any],
    top: int = 10,
    *,
    least: float = -1.0,
    names: Sequence[str] = (),
    threads: int | None = None,
) -> list[list[Hit]]:
    """What `search` finds for each of several queries, in one pass over the file; see there.

    Args:
        queries: vectors (D,), or an array (Q, D).
    """
    features.check_one_per_picture()
    top = as_count(top, "top")
    if not len(queries):
        return []
    units = [check_query(query) for query in queries]
    if len({len(unit) for unit in units}) > 1:
        raise ValueError(f"queries have {sorted({len(unit) for unit in units})} numbers; expected one size")
    if not -1 <= least <= 1:  # no comparison with NaN is true
        raise ValueError("least " + mismatch(least, "a cosine, -1 to 1"))
    threads = usable_cores() if threads is None else as_count(threads, "threads")
    task = _Task(features, np.stack(units), top, float(least), _matching(features, names))
    width = len(units[0]) * np.dtype(features.stored).itemsize
    rows = max(1, min(BLOCK_BYTES // width, SCORES // len(units)))
    found: list[Found] = [[] for _ in units]
    with one_blas_thread(), ThreadPoolExecutor(threads, "search") as pool:
        for best in ahead(pool, partial(_best, task), features.directions(rows), 2 * threads):
            for i, some in enumerate(best):
                if some:
                    found[i] = nlargest(top, found[i] + some)
                    if len(found[i]) == top:
                        task.floor[i] = found[i][-1][0]
    return [[Hit(-row, features.names[-row], score) for score, row in each] for each in found]


def recall(found: Sequence[Sequence[Hit]], expected: Sequence[Sequence[Hit]]) -> float:
    """Which share of the pictures in `expected` is in `found`, query by query: recall@k of k hits for each.

    Of vectors in fewer bytes (`found`) against those in float32 (`expected`), both from `search_many`.
    """
    if len(found) != len(expected) or not any(map(len, expected)):
        raise ValueError(
            f"found is of {len(found)} queries and expected of {len(expected)}; expected as many, and hits to be found"
        )
    both = [({hit.row for hit in a} & {hit.row for hit in b}, b) for a, b in zip(found, expected, strict=True)]
    return sum(len(common) for common, _ in both) / sum(len(of) for _, of in both)


def _matching(features: FeatureFile, patterns: Sequence[str]) -> NDArray[np.bool_] | None:
    """(N,), whether a name matches one of the patterns; None without patterns."""
    if isinstance(patterns, str):
        raise TypeError(f"names is {patterns!r:.80}; expected a list of patterns")
    if not patterns:
        return None
    match = re.compile("|".join(map(translate, patterns))).match
    rows = np.fromiter((match(name) is not None for name in features.names), np.bool_, len(features))
    if not rows.any():
        first = f"; the first is {features.names[0]!r:.200}" if len(features) else ""
        raise ValueError(f"no name in {features.path} matches {' or '.join(patterns)!r:.200}{first}")
    return rows


def _best(task: _Task, found: tuple[int, NDArray[Any]]) -> list[Found]:
    """The best of one block for each query; `found` is the number of its first row, and the block."""
    start, block = found
    size = task.queries.shape[1]
    if block.ndim != 2 or block.shape[1] != size:
        raise ValueError(
            f"query has {size} numbers, and {task.features.path} vectors of {block.shape[-1]}; they are of different "
            "kinds"
        )
    wanted = None if task.rows is None else task.rows[start : start + len(block)]
    if wanted is not None and not wanted.any():
        return [[] for _ in task.queries]
    if block.dtype.name not in STORED or not block.flags.aligned:  # as a foreign file may have them
        block = np.ascontiguousarray(block, np.float32)
    scores = _rough(block, task.queries)
    if wanted is not None:
        scores[:, ~wanted] = 2 * NO_SCORE
    margin = 4 * (size + 8) * np.finfo(np.float32).eps  # the bound of a float32 cosine's error, twice
    result: list[Found] = []
    for query, of_query, floor, high in zip(task.queries, scores, task.floor, scores.max(axis=1), strict=True):
        best: Found = []
        if high >= floor - margin:
            best = _exact(task, block, _chosen(of_query, task.top, floor - margin, margin), query, start)
        result.append(best)
    return result


def _rough(block: NDArray[Any], queries: NDArray[np.float64]) -> NDArray[np.float32]:
    """(Q, b) cosines in float32; infinity where float32 cannot tell: of zeros, and of what its squares cannot hold."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scores, squares = dots(queries.astype(np.float32), block)
        lengths = np.sqrt(squares)
        scores /= lengths
    bad = ~np.isfinite(lengths) | (lengths < 1e-15)
    bad |= ~np.isfinite(scores).all(axis=0)
    if bad.any():
        scores[:, bad] = np.inf  # to be computed in float64
    return scores


def _chosen(scores: NDArray[np.float32], top: int, floor: float, margin: float) -> NDArray[np.intp]:
    """The rows that may be among the best, by scores that are off by less than half the margin."""
    chosen = np.flatnonzero(scores >= floor)
    if len(chosen) > top:
        some = scores[chosen]
        least = np.partition(np.where(np.isinf(some), NO_SCORE, some), -top)[-top]
        chosen = chosen[some >= least - margin]
    return chosen


def _exact(task: _Task, block: NDArray[Any], rows: NDArray[np.intp], query: NDArray[np.float64], start: int) -> Found:
    """(score, -row) of the best of some rows, the best first."""
    exact = cosines(block, rows, query)
    if not np.isfinite(exact).all():
        row = start + int(rows[~np.isfinite(exact)][0])
        raise CheckpointError(f"{task.features.path}: the vector in row {row} is not finite; write the file again")
    order = np.argsort(-exact, kind="stable")[: task.top]
    return [(float(exact[i]), -(start + int(rows[i]))) for i in order if exact[i] >= task.least]


def cosines(block: NDArray[Any], rows: NDArray[np.intp], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """In float64, each row by itself: equal vectors have equal cosines, wherever they are. Zeros have the cosine 0."""
    result = np.empty(len(rows))
    step = max(1, 2**20 // block.shape[1])
    for start in range(0, len(rows), step):
        with np.errstate(invalid="ignore"):  # a signaling NaN of a damaged file, which is told by its row
            wide = block[rows[start : start + step]].astype(np.float64)
        lengths = np.sqrt((wide * wide).sum(axis=1))
        result[start : start + step] = (wide * query).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    return result
