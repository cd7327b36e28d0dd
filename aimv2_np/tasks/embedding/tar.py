"""Pictures in tar archives: where they lie, and their bytes, without unpacking anything to disk."""

import os
import posixpath
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aimv2_np.errors import is_of_the_system
from aimv2_np.files.atomic import naming_path

TAR: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_BYTES: Final = 2**30  # of one picture's file


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name there without "./", and where its bytes lie once it is decompressed.

    The archive is `file`, whose size and time of modification stand for what is in it.
    """

    file: str
    name: str
    offset: int
    size: int
    compressed: bool

    @property
    def where(self) -> str:
        """Where in it, as a text."""
        return f"{self.offset} {self.size}"

    def read(self) -> bytes:
        """Its bytes, of an archive that is not compressed."""
        return read_member(self)


@dataclass
class Contents:
    """What an archive holds; of several members of one name the last counts, as when tar unpacks them.

    Attributes:
        members: its plain files, in their order.
        others: name → "links", "sparse files" or "special files": what is in it and has no bytes to read.
        duplicates: how many members a later one has replaced.
        problem: why it cannot be read to its end, or "".
    """

    members: list[Member]
    others: dict[str, str]
    duplicates: int = 0
    problem: str = ""


def contents(archive: str, opened: Any = None) -> Contents:
    """All that an archive holds, as far as it can be read, which may be `opened`. OSError where it cannot be opened."""
    compressed = not archive.lower().endswith(".tar")
    found: dict[str, Member | str] = {}
    duplicates, problem = 0, ""
    last = b""  # block that was read as a header; of a whole archive it is zeros, which tarfile does not ask for

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
            nonlocal last
            last = bytes(buf)
            return super().frombuf(buf, encoding, errors)

    try:
        with tarfile.open(archive, "r|*" if compressed else "r:", fileobj=opened, tarinfo=Header) as tar:
            for info in tar:
                if not info.isdir():
                    name = posixpath.normpath(info.name)
                    duplicates += found.pop(name, None) is not None
                    found[name] = _place(archive, name, info, compressed)
                tar.members = []  # type: ignore[attr-defined]  # else all that were seen stay in memory
        if last != bytes(tarfile.BLOCKSIZE):
            problem = "it ends before its end mark" if len(last) < tarfile.BLOCKSIZE else "a header is damaged"
    except Exception as error:  # of tarfile, zlib, lzma
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        problem = str(error)
    if problem:
        problem = f"it cannot be read to its end as a tar archive ({problem}); it may be damaged, fetch it again"
    members = [place for place in found.values() if isinstance(place, Member)]
    return Contents(members, {n: place for n, place in found.items() if isinstance(place, str)}, duplicates, problem)


def _place(archive: str, name: str, info: tarfile.TarInfo, compressed: bool) -> Member | str:
    if info.issparse():
        return "sparse files"
    if info.isreg():
        return Member(archive, name, info.offset_data, info.size, compressed)
    return "links" if info.issym() or info.islnk() else "special files"


def read_member(member: Member) -> bytes:
    """The bytes of a file in an archive that is not compressed; from any thread, in any order."""
    with naming_path(member.file), Path(member.file).open("rb") as file:
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
        if self._archive != member.file:
            self.close()
            self._tar = tarfile.open(member.file, "r:*")  # noqa: SIM115 (`close` closes it)
            self._archive = member.file
        assert self._tar is not None
        try:
            with naming_path(member.file):
                return _read(self._tar.fileobj, member)  # the archive as it is once decompressed
        except Exception as error:  # of gzip, zlib, bz2, lzma
            if is_of_the_system(error):
                raise
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
            inside = posixpath.normpath(name[len(str(parent)) :].lstrip("/" + os.sep))
            return next((member for member in contents(str(parent)).members if member.name == inside), None)
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
