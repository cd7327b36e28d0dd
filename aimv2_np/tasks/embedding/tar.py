"""Pictures in tar archives: where they lie, and their bytes, without unpacking anything to disk."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TAR: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_BYTES: Final = 2**30  # of one picture's file


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name there, and where its bytes lie in the archive once it is decompressed."""

    archive: str
    name: str
    offset: int
    size: int
    compressed: bool


def members(archive: str) -> Iterator[Member]:
    """The plain files of an archive, in their order. ValueError when it is damaged."""
    compressed = not archive.lower().endswith(".tar")
    try:
        with tarfile.open(archive, "r|*" if compressed else "r:") as tar:
            for info in tar:
                if info.isreg() and not info.issparse():
                    yield Member(archive, info.name, info.offset_data, info.size, compressed)
                tar.members = []  # type: ignore[attr-defined]  # else all that were seen stay in memory
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"{archive} cannot be read as a tar archive ({error}); it may be damaged, fetch it again"
        ) from error


def read_member(member: Member) -> bytes:
    """The bytes of a file in an archive that is not compressed; from any thread, in any order."""
    with Path(member.archive).open("rb") as file:
        return _read(file, member)


class CompressedArchives:
    """Reads files out of compressed archives in their order, so that each archive is decompressed once.

    One archive is open at a time. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._archive: str | None = None
        self._tar: tarfile.TarFile | None = None

    def read(self, member: Member) -> bytes:
        """The bytes of a file, which lies behind all that have been read from its archive."""
        if self._archive != member.archive:
            self.close()
            self._tar = tarfile.open(member.archive, "r:*")  # noqa: SIM115 (`close` closes it)
            self._archive = member.archive
        assert self._tar is not None
        try:
            return _read(self._tar.fileobj, member)  # the archive as it is once decompressed
        except (EOFError, OSError) as error:
            raise ValueError(f"it cannot be read from its archive: {error}") from error

    def close(self) -> None:
        """Close the archive that is open."""
        if self._tar is not None:
            self._tar.close()
        self._archive = self._tar = None


def find_member(name: str) -> Member | None:
    """The member that a name like "archive.tar/path/in/it" means, or None where there is no such archive or file."""
    for parent in Path(name).parents:
        if str(parent).lower().endswith(TAR) and parent.is_file():
            inside = name[len(str(parent)) :].lstrip("/" + os.sep)
            return next((member for member in members(str(parent)) if member.name == inside), None)
    return None


def read_any(member: Member) -> bytes:
    """The bytes of one file, of a compressed archive too, which is then decompressed up to it."""
    with closing(CompressedArchives()) as archives:
        return archives.read(member) if member.compressed else read_member(member)


def _read(archive: Any, member: Member) -> bytes:
    """The bytes of a file in an archive that is open for reading and not, or no more, compressed."""
    if member.size > MAX_BYTES:
        raise ValueError(f"the file has {member.size:,} bytes; expected at most {MAX_BYTES:,}")
    archive.seek(member.offset)
    data: bytes = archive.read(member.size)
    if len(data) != member.size:
        raise ValueError(f"the archive ends within it, after {len(data):,} of {member.size:,} bytes; fetch it again")
    return data
