"""The features of a run's pictures, in their order: computed in this process, or in those of an engine.

An engine's processes take four batches at a time, the same batches as one machine's. What they are sent are names and
places of pictures, which they read themselves; what comes back are features. No more is on its way than two tasks for
each process, so neither their memory nor this one's grows with the number of pictures.
"""

import os
import pickle
import socket
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.tasks.embedding.complaints import once_a_kind
from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.engines import Engine, Result
from aimv2_np.tasks.embedding.identity import means, settings
from aimv2_np.tasks.embedding.pipeline import Batch, Fetched, fetched, prepared_batches
from aimv2_np.tasks.embedding.plan import Plan
from aimv2_np.tasks.embedding.remote import Remote
from aimv2_np.tasks.embedding.tables import Row
from aimv2_np.tasks.embedding.tar import Member
from aimv2_np.tasks.embedding.zip import ZipMember

BATCHES: Final = 4  # that a process of an engine is given at a time
WAITING: Final = 2  # tasks for each of them: the one that it is at, and the next


@dataclass(frozen=True)
class Computed:
    """What is known of neighbouring pictures, those that follow the ones before up to number `stop`.

    Attributes:
        arrays: of the sound ones, as a file of features has them; none where none is sound.
        broken: number of another → what is wrong, as a sentence.
        counts: how many patches each of the sound ones has; None where rows are copied.
    """

    stop: int
    arrays: dict[str, NDArray[Any]]
    broken: dict[int, str]
    counts: dict[int, int] | None

    @property
    def newly_broken(self) -> dict[int, str]:
        """What was found to be broken now, and is not known from a complete file."""
        return {} if self.counts is None else self.broken


def computed(
    todo: Plan,
    start: int,
    embedder: ImageEmbedder,
    wanted: dict[str, Any],
    threads: int | None,
    engine: Engine | None,
) -> Generator[Computed, None, None]:
    """What is to be done, from number `start` on.

    Args:
        todo: which pictures, and which rows are only copied.
        start: how many are done already.
        embedder: computes their features.
        wanted: the embedder's `settings`, which an engine's processes must have as well.
        threads: how many decode; in each process, where an engine has several.
        engine: whose processes compute; None for this one.
    """
    if engine is not None:
        task = Task(pickle.dumps(embedder), means(embedder, wanted), 0, [], threads or 1)
        yield from _elsewhere(todo, start, embedder.batch_size, task, engine)
        return
    for first, stop, kept in todo.stretches(start, embedder.batch_size):
        if kept:
            yield _copied(todo, first, stop)
            continue
        with closing(_compute(fetched(todo.pictures, first, stop), first, embedder, threads)) as some:
            yield from some


def _copied(todo: Plan, first: int, stop: int) -> Computed:
    arrays, broken = todo.copied(first, stop)
    return Computed(stop, arrays, broken, None)


def _compute(
    some: Iterable[Fetched], start: int, embedder: ImageEmbedder, threads: int | None
) -> Generator[Computed, None, None]:
    with closing(prepared_batches(some, start, embedder.batch_size, embedder, threads)) as batches:
        for batch in batches:
            grids = {number: embedder.grid(pixels) for number, pixels in batch.pixels.items()}
            counts = {number: rows * columns for number, (rows, columns) in grids.items()}
            arrays = _features(embedder, batch, list(grids.values())) if grids else {}
            yield Computed(batch.stop, arrays, batch.broken, counts)


def _features(embedder: ImageEmbedder, batch: Batch, grids: list[tuple[int, int]]) -> dict[str, NDArray[Any]]:
    """The arrays of a file of features, of the sound pictures of a batch."""
    vectors = embedder.compute(list(batch.pixels.values()))
    if embedder.opened.kind != "tokens":
        return {"features": np.stack(vectors)}
    grid = np.array(grids, np.int32)
    if not embedder.opened.vision.config.is_native:
        return {"features": np.stack(vectors), "grid": grid}
    return {"features": np.concatenate(vectors), "counts": grid.prod(axis=1, dtype=np.int64), "grid": grid}


@dataclass(frozen=True)
class Task:
    """What a process of an engine is sent.

    Attributes:
        embedder: pickled.
        expected: what the process must compute with, so that its features are those of this one; see `means`.
        start: number of the first picture.
        pictures: see `fetched`; paths are absolute.
        threads: that decode.
    """

    embedder: bytes
    expected: dict[str, Any]
    start: int
    pictures: list[Fetched]
    threads: int


@dataclass(frozen=True)
class Answer:
    """What comes back: what was computed, on which machine, and the numbers of files that it does not see."""

    computed: list[Computed]
    host: str
    unseen: list[int]


def _elsewhere(todo: Plan, start: int, batch: int, empty: Task, engine: Engine) -> Generator[Computed, None, None]:
    """The same by an engine: each task is `empty`, filled with pictures."""
    waiting: deque[tuple[int, int, Result | None]] = deque()  # without a result: rows that are copied
    try:
        for first, stop, pictures in _pieces(todo, start, batch):
            task = replace(empty, start=first, pictures=pictures)
            waiting.append((first, stop, engine.submit(answer, task) if pictures else None))
            while len(waiting) >= WAITING * engine.processes():
                yield from _taken(todo, *waiting.popleft())
        while waiting:
            yield from _taken(todo, *waiting.popleft())
    finally:
        for _, _, result in waiting:
            if result is not None:
                result.cancel()


def _pieces(todo: Plan, start: int, batch: int) -> Iterator[tuple[int, int, list[Fetched]]]:
    """First number, the one after the last, and the pictures of each task; none where rows are copied."""
    for first, stop, kept in todo.stretches(start, batch):
        if kept:
            yield first, stop, []
            continue
        with closing(fetched(todo.pictures, first, stop)) as some:
            while pictures := [_absolute(picture) for picture in islice(some, BATCHES * batch)]:
                yield first, first + len(pictures), pictures
                first += len(pictures)


def _absolute(picture: Fetched) -> Fetched:
    """With paths that mean the same in a process that runs in another folder."""
    name, place = picture
    if isinstance(place, str):
        return name, _full(place)
    if isinstance(place, bytes | ValueError | Remote):
        return picture
    return name, replace(place, file=_full(place.file))


def _full(path: str) -> str:
    return str(Path(os.path.expanduser(path)).absolute())  # noqa: PTH111 (as when it is decoded)


def _taken(todo: Plan, first: int, stop: int, result: Result | None) -> Iterator[Computed]:
    if result is None:
        yield _copied(todo, first, stop)
        return
    found: Answer = result.result()
    names = todo.pictures.names
    hidden = [names[number] for number in found.unseen if os.access(_full(names[number]), os.R_OK)]
    if hidden:
        raise _unshared(hidden[0], found.host)
    yield from found.computed


def _unshared(path: str, host: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{path} is there, but a process on {host} cannot read it; expected the same files at the same paths on all "
        "machines (a file system that they share), or addresses (s3://…)"
    )


def answer(task: Task) -> Answer:
    """Do a task, in a process of an engine.

    Raises ValueError if this process would compute other features than the one that sent it.
    """
    host = socket.gethostname()
    embedder, found = _opened(task.embedder)
    for name, expected in task.expected.items():
        if found.get(name) != expected:
            raise ValueError(
                f"{name}: {found.get(name)!r:.40} in a process on {host}, {expected!r:.40} in this one; expected the "
                "same everywhere, as features depend on it"
            )
    _name_warnings()
    unseen = _unreadable(task.pictures, task.start)
    for archive in {place.file for _, place in task.pictures if isinstance(place, Member | ZipMember | Row)}:
        if not os.access(archive, os.R_OK):  # the command has read it
            raise _unshared(archive, host)
    return Answer(list(_compute(task.pictures, task.start, embedder, task.threads)), host, unseen)


@lru_cache(maxsize=4)
def _opened(pickled: bytes) -> tuple[ImageEmbedder, dict[str, Any]]:
    """The embedder of this process, which opens its model once, and what it computes with."""
    embedder: ImageEmbedder = pickle.loads(pickled)
    return embedder, means(embedder, settings(embedder))


@cache
def _name_warnings() -> AbstractContextManager[None]:
    """Warnings name their pictures for as long as this process lives: its tasks may overlap, each on a thread."""
    kept = once_a_kind()
    kept.__enter__()
    return kept


def _unreadable(pictures: Sequence[Fetched], start: int) -> list[int]:
    paths = enumerate((place for _, place in pictures), start)
    return [number for number, place in paths if isinstance(place, str) and not os.access(place, os.R_OK)]
