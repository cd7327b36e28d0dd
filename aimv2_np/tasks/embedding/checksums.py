"""Digests of the contents of pictures, by which a picture is the same whatever its time of modification is."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.errors import is_of_the_system
from aimv2_np.files.atomic import naming_path
from aimv2_np.tasks.embedding.pipeline import ahead
from aimv2_np.tasks.embedding.sources import Place
from aimv2_np.tasks.embedding.tar import CompressedArchives, Member

UNREADABLE: Final = "cannot be read"


def checksums(places: Mapping[str, Place]) -> list[str]:
    """Of each picture SHA-256 of its file, or "cannot be read"; all are read, those in archives where they lie."""
    with closing(CompressedArchives()) as archives, ThreadPoolExecutor(usable_cores(), "read") as pool:
        return list(ahead(pool, _checksum, _fetched(places, archives), 64))


def _fetched(places: Mapping[str, Place], archives: CompressedArchives) -> Iterator[tuple[str, Place | bytes]]:
    """What lies in a compressed archive is read here, in its order."""
    for name, place in places.items():
        try:
            inside = isinstance(place, Member) and place.compressed
            yield name, archives.read(place) if inside and isinstance(place, Member) else place
        except ValueError as error:
            yield name, str(error)


def _checksum(fetched: tuple[str, Place | bytes]) -> str:
    name, place = fetched
    try:
        if isinstance(place, str):
            return UNREADABLE
        if place is None:
            path = Path(os.path.expanduser(name))  # noqa: PTH111 (as when it is decoded)
            if not path.is_file():  # a pipe, or a device without an end
                return UNREADABLE
            with naming_path(path), path.open("rb") as file:
                return file_digest(file, "sha256").hexdigest()
        return sha256(place if isinstance(place, bytes) else place.read()).hexdigest()
    except (OSError, ValueError) as error:
        if is_of_the_system(error):
            raise
        return UNREADABLE
