"""Which pictures: from files, folders, globs, lists of paths and tar archives to one list in a fixed order."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from aimv2_np.processing.formats import SUFFIXES
from aimv2_np.tasks.embedding.tar import TAR, Member, members

LISTS: Final = (".txt", ".lst", ".list")
STDIN: Final = "-"
MAX_LINE: Final = 2**16


@dataclass(frozen=True)
class Pictures:
    """The pictures of a run, each under its name, in order; a name occurs once.

    Attributes:
        names: paths as they were given or found; of a picture in an archive "archive.tar/path/in/it".
        members: name → its place in an archive, for those that lie in one.
        duplicates: how many were named again and are left out.
    """

    names: tuple[str, ...]
    members: dict[str, Member]
    duplicates: int

    def digest(self) -> str:
        """SHA-256 over names and places in archives: whether two runs are about the same pictures in the same order."""
        result = sha256()
        for name in self.names:
            member = self.members.get(name)
            place = f"{member.offset} {member.size}" if member else ""
            result.update(os.fsencode(name) + b"\0" + place.encode() + b"\0")
        return result.hexdigest()


def find_pictures(paths: Iterable[str | os.PathLike[str]]) -> Pictures:
    """All pictures that `paths` name, in order; within a folder or a glob by name.

    Each path is one of: a picture; a folder, searched with all below it (hidden files, and files that are not named
    like pictures, are left out; links to folders are not followed); a glob such as `photos/**/*.jpg`, whose matches are
    taken as paths; a text file (.txt, .lst, .list) with one path of a picture per line; "-", the same on standard
    input; an archive (.tar, .tar.gz, .tgz, .tar.bz2, .tar.xz), of which the members that are named like pictures are
    taken in their order.

    Raises:
        FileNotFoundError: a path or a glob that names nothing.
        ValueError: no picture in all of it; a list that is none; a damaged archive.
        TypeError: paths that are none, or one path in the place of several.
    """
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"paths is {str(paths)!r:.80}; expected a list of paths")
    given = [os.path.expanduser(os.fspath(path)) for path in paths]  # noqa: PTH111 (Path.expanduser raises for "~nobody")
    names: dict[str, Member | None] = {}
    found = 0
    for path in given:
        for name, member in _expand(path):
            found += 1
            names.setdefault(name, member)
    if not names:
        raise ValueError(
            f"paths is {', '.join(given)[:200] or 'an empty list'}, where there are no pictures; expected files that "
            f"end in {', '.join(SUFFIXES)}"
        )
    return Pictures(
        tuple(names), {name: member for name, member in names.items() if member is not None}, found - len(names)
    )


def is_picture(name: str) -> bool:
    """Whether a file of that name is taken from a folder or an archive."""
    base = name.replace("\\", "/").rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(SUFFIXES)


def _expand(path: str) -> Iterator[tuple[str, Member | None]]:
    if path == STDIN:
        yield from ((name, None) for name in _lines(sys.stdin.buffer, "standard input"))
    elif Path(path).is_dir():
        yield from ((name, None) for name in _walk(path))
    elif path.lower().endswith(TAR) and Path(path).exists():
        yield from ((f"{path}/{member.name}", member) for member in members(path) if is_picture(member.name))
    elif path.lower().endswith(LISTS) and Path(path).exists():
        with Path(path).open("rb") as file:
            yield from ((name, None) for name in _lines(file, path))
    elif Path(path).exists():
        yield os.path.normpath(path), None
    elif glob.has_magic(path):
        yield from _glob(path)
    else:
        raise FileNotFoundError(
            f"there is no {path!r:.300}; expected a picture, a folder, a glob, a text file of paths or a tar archive"
        )


def _glob(pattern: str) -> Iterator[tuple[str, Member | None]]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute patterns)
    if not matches:
        raise FileNotFoundError(f"nothing matches {pattern!r:.300}; check the pattern (and the folder you are in)")
    covered: set[Path] = set()  # "**" matches a folder and everything in it; both would make duplicates
    for match in matches:
        if not covered.isdisjoint(Path(match).parents):
            continue
        if Path(match).is_dir():
            covered.add(Path(match))
        elif not is_picture(match) and not match.lower().endswith((*TAR, *LISTS)):
            continue
        yield from _expand(match)


def _walk(folder: str) -> Iterator[str]:
    def complain(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=complain):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (str(Path(place, name)) for name in sorted(files) if is_picture(name))


def _lines(file: BinaryIO, where: str) -> Iterator[str]:
    """The paths in a text file, one a line, as bytes of the file system; blank lines mean nothing."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in line or len(line) == MAX_LINE:
            raise ValueError(f"{where}, line {number}, is no path; expected a text file with one path per line")
        text = os.fsdecode(line).rstrip("\r\n")
        if text.strip():
            yield os.path.normpath(text)
