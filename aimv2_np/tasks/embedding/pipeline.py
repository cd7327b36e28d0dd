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

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.files.atomic import naming_path
from aimv2_np.processing.loading import IMAGE_ERRORS, in_one_line
from aimv2_np.tasks.embedding.complaints import about
from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.remote import Remote
from aimv2_np.tasks.embedding.sources import Pictures, Place
from aimv2_np.tasks.embedding.tables import Row
from aimv2_np.tasks.embedding.tar import CompressedArchives, Member
from aimv2_np.tasks.embedding.zip import ZipMember

T = TypeVar("T")
R = TypeVar("R")
Held = Member | ZipMember | Row | Remote
Fetched = tuple[str, str | bytes | Held | ValueError]  # a name; its path, bytes or place, or what is wrong


@dataclass(frozen=True)
class Batch:
    """Neighbouring pictures, those that follow the ones before up to number `stop`.

    Attributes:
        pixels: number of a sound picture → (3, h, w) float32.
        broken: number of another → what is wrong, as a sentence.
    """

    stop: int
    pixels: dict[int, NDArray[np.float32]]
    broken: dict[int, str]


def fetched(pictures: Pictures, start: int = 0, stop: int | None = None) -> Generator[Fetched, None, None]:
    """The pictures from number `start` up to `stop`, to be prepared: what lies in compressed archives as bytes."""
    with closing(CompressedArchives()) as archives:
        for name in pictures.names[start:stop]:
            yield _fetch(name, pictures.places[name], archives)


def prepared_batches(
    some: Iterable[Fetched], start: int, batch: int, embedder: ImageEmbedder, threads: int | None = None
) -> Generator[Batch, None, None]:
    """What was fetched, `batch` pictures at a time, prepared by so many threads (None: one a core).

    Pillow releases the interpreter while it decodes and resizes, so threads do it while the model computes. Two
    batches are prepared beyond the one that is worked on; the memory of more is not taken.

    Args:
        some: neighbouring pictures.
        start: the number of the first.
        batch, threads: see above.
        embedder: prepares each of them.
    """
    from PIL import Image

    Image.init()  # a plugin whose import fails later, for want of descriptors, would stay without its format
    threads = threads or usable_cores()
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        prepared = ahead(pool, partial(_prepare, embedder), some, max(2 * batch, batch + threads))
        results = enumerate(prepared, start)
        while group := dict(islice(results, batch)):
            broken = {number: result for number, result in group.items() if isinstance(result, str)}
            pixels = {number: result for number, result in group.items() if not isinstance(result, str)}
            yield Batch(max(group) + 1, pixels, broken)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(pool: Executor, function: Callable[[T], R], arguments: Iterable[T], count: int) -> Iterator[R]:
    """`function` of each argument, in order, as from `pool.map`, but with at most `count` calls begun and not taken.

    So neither arguments nor results fill the memory.
    """
    waiting: deque[Future[R]] = deque()
    for argument in arguments:
        waiting.append(pool.submit(function, argument))
        if len(waiting) == count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _fetch(name: str, place: Place, archives: CompressedArchives) -> Fetched:
    """What `_prepare` takes; what lies in a compressed archive is read here, in its order."""
    if isinstance(place, str):
        return name, ValueError(place)
    try:
        return name, archives.read(place) if isinstance(place, Member) and place.compressed else place or name
    except ValueError as error:
        return name, error


def _prepare(embedder: ImageEmbedder, fetched: Fetched) -> NDArray[np.float32] | str:
    name, picture = fetched
    try:
        if isinstance(picture, ValueError):
            raise picture
        with about(name), naming_path(name):
            return embedder.prepare(picture if isinstance(picture, str | bytes) else _read(picture))
    except IMAGE_ERRORS as error:
        return in_one_line(error)
    except MemoryError as error:
        error.add_note(f"{name} was being read")
        raise


def _read(place: Held) -> bytes:
    try:
        return place.read()
    except FileNotFoundError as error:
        if isinstance(place, Remote):
            raise
        # The archive is gone, which is not one picture's fault.
        raise RuntimeError(f"{place.file} is gone; expected it where it was when the run began") from error
