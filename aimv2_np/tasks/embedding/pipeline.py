"""Threads that decode and resize pictures while the model computes features of the ones before."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.parallel import available, pieces
from aimv2_np.processing.loading import PICTURE_ERRORS
from aimv2_np.tasks.embedding.complaints import about
from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.sources import Pictures
from aimv2_np.tasks.embedding.tar import CompressedArchives, Member, read_member

T = TypeVar("T")
R = TypeVar("R")
Fetched = tuple[str, str | bytes | Member | ValueError]  # a name; a path, a file's bytes, its place, or what is wrong


@dataclass(frozen=True)
class Prepared:
    """Neighbouring pictures, those from `start` up to `stop`: the pixels of the sound ones, the reason for the others.

    Attributes:
        rows: the numbers of the sound pictures.
        pixels: for each of them (3, h, w) float32.
        broken: number → what is wrong, as a sentence.
    """

    start: int
    stop: int
    rows: tuple[int, ...]
    pixels: list[NDArray[np.float32]]
    broken: dict[int, str]


def prepared_batches(
    pictures: Pictures, start: int, batch: int, embedder: ImageEmbedder, threads: int | None = None
) -> Generator[Prepared, None, None]:
    """The pictures from number `start` on, `batch` at a time, prepared by `threads` threads (None: one a core).

    Pillow releases the interpreter while it decodes and resizes, so threads do it while the model computes. Two
    batches are prepared beyond the one that is worked on; the memory of more is not taken.
    """
    from PIL import Image

    Image.init()  # a plugin whose import fails later, for want of descriptors, would stay without its format
    threads = threads or available()
    total = len(pictures.names)
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        with closing(CompressedArchives()) as archives:
            fetched = (_fetch(pictures, row, archives) for row in range(start, total))
            results = ahead(pool, partial(_prepare, embedder), fetched, max(2 * batch, batch + threads))
            for some in pieces(total - start, batch):
                yield _together(start + some.start, start + some.stop, list(islice(results, batch)))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(pool: Executor, function: Callable[[T], R], arguments: Iterable[T], count: int) -> Iterator[R]:
    """What `pool.map` gives, with at most `count` calls under way: neither arguments nor results heap up in memory."""
    waiting: deque[Future[R]] = deque()
    for argument in arguments:
        waiting.append(pool.submit(function, argument))
        if len(waiting) == count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _fetch(pictures: Pictures, row: int, archives: CompressedArchives) -> Fetched:
    """A name with a path, or a place in an archive; what lies in a compressed one is read here, in its order."""
    name = pictures.names[row]
    if name in pictures.unreadable:
        return name, ValueError(pictures.unreadable[name])
    member = pictures.members.get(name)
    if member is None or not member.compressed:
        return name, member or name
    try:
        return name, archives.read(member)
    except ValueError as error:
        return name, error


def _prepare(embedder: ImageEmbedder, fetched: Fetched) -> NDArray[np.float32] | str:
    name, picture = fetched
    try:
        if isinstance(picture, ValueError):
            raise picture
        with about(name):
            return embedder.prepare(_read(picture) if isinstance(picture, Member) else picture)
    except PICTURE_ERRORS as error:
        return " ".join(str(error).split())
    except MemoryError as error:
        error.add_note(f"{name} was being read")
        raise


def _read(member: Member) -> bytes:
    try:
        return read_member(member)
    except FileNotFoundError as error:  # the archive is gone, which is not one picture's fault
        raise RuntimeError(f"{member.archive} is gone; expected it where it was when the run began") from error


def _together(start: int, stop: int, results: list[NDArray[np.float32] | str]) -> Prepared:
    broken = {row: found for row, found in enumerate(results, start) if isinstance(found, str)}
    rows = tuple(row for row in range(start, stop) if row not in broken)
    return Prepared(start, stop, rows, [found for found in results if not isinstance(found, str)], broken)
