"""Which pictures: from files, folders, globs, lists, tables, archives and addresses to one list in a fixed order."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import EACCES
from functools import cache, cached_property, partial
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from aimv2_np.errors import is_of_the_system
from aimv2_np.processing.formats import SUFFIXES
from aimv2_np.tasks.embedding.remote import Remote, is_remote, listed, lowered, picture_at, remote_contents
from aimv2_np.tasks.embedding.tables import PICTURE, TABLES, Row, rows_of
from aimv2_np.tasks.embedding.tar import TAR, Contents, Member, contents
from aimv2_np.tasks.embedding.zip import ZIP, ZipMember, zip_contents

LISTS: Final = (".txt", ".lst", ".list")
STDIN: Final = "-"
MAX_LINE: Final = 2**16
MISSING: Final = "missing"
DUPLICATES: Final = "duplicates"
Place = Member | ZipMember | Row | Remote | str | None  # see `Pictures`


@dataclass(frozen=True)
class Pictures:
    """The pictures of a run, in order.

    Attributes:
        places: name → place. The name is a path as it was given or found, of a picture in an archive
            "archive.tar/path/in/it", in a table "table.parquet/row 17". The place is None for a file, else where its
            bytes lie; for a picture, a folder or an archive that was found and cannot be read, the reason.
        duplicates: how many were named again and are left out.
        passed_over: suffix, or what else it is → how many files in folders, globs and archives are not taken.
    """

    places: dict[str, Place]
    duplicates: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each picture."""
        return tuple(self.places)

    def digest(self) -> str:
        """SHA-256 over names and places in archives: equal for the same pictures in the same order."""
        result = sha256()
        for name, place in self.places.items():
            where = "" if place is None or isinstance(place, str) else place.where
            result.update(os.fsencode(name) + b"\0" + where.encode() + b"\0")
        return result.hexdigest()

    def states(self) -> list[str]:
        """For each picture the size and the time of modification of its file, archive or table, as one text.

        Where that is the same, so are the contents, it is assumed; and of a picture at an address while that is.
        """
        state = cache(_state)  # of an archive asked for once
        return [
            place.stamp or "at an address" if isinstance(place, Remote)
            else f"{state(place.file)} {place.column}" if isinstance(place, Row)
            else state(name if place is None or isinstance(place, str) else place.file)
            for name, place in self.places.items()
        ]  # fmt: skip


def find_pictures(paths: Iterable[str | os.PathLike[str]], column: str | None = None) -> Pictures:
    """All pictures that `paths` name, in order; within a folder or a glob by name.

    Each path is one of: a picture; a folder, searched with all below it (hidden files, and files that are not named
    like pictures, are left out; links to folders are not followed); a glob such as `photos/**/*.jpg`, whose matches are
    taken as paths; a text file (.txt, .lst, .list) with one path of a picture per line (a line that begins with # is a
    remark); "-", the same on standard input; an archive (.tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .zip), of which the
    members that are named like pictures are taken in their order, of several of one name the last; a table (.csv, .tsv,
    .parquet), of which `column` holds paths from where the table lies, addresses or, in Parquet, the pictures
    themselves (None: the first that is named like one); an address of a picture or of a .tar, in S3 also of a folder.

    A path that is given must be there and readable. What is found in a list, a folder, a glob or an archive and is not
    is left out later, by its name, as a broken picture is. Of a damaged archive, what can be read is taken.

    Raises:
        FileNotFoundError, PermissionError: a path that is not there, or not readable; a glob that matches nothing.
        ValueError: no picture in all of it; a list or a table that is none.
        ImportError: Parquet or an address, and what reads it is not installed.
        TypeError: paths that are none, or one path in the place of several.
    """
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"paths is {str(paths)!r:.80}; expected a list of paths")
    given = [os.path.expanduser(os.fspath(path)) for path in paths]  # noqa: PTH111 (Path.expanduser raises for "~nobody")
    places: dict[str, Place] = {}
    passed: Counter[str] = Counter()
    for path in given:
        for name, place in _expand(path, passed, column):
            passed[DUPLICATES] += name in places
            places.setdefault(name, place)
    duplicates = passed.pop(DUPLICATES, 0)
    unreadable = {name: place for name, place in places.items() if isinstance(place, str)}
    over = dict(passed.most_common())
    if len(unreadable) == len(places):
        raise ValueError(
            f"paths is {', '.join(given)[:200] or 'an empty list'}, where there are no pictures; expected files that "
            f"end in {', '.join(SUFFIXES)}"
            + (f"; {passed_over(over)}" if over else "")
            + "".join(f"; {name}: {reason}" for name, reason in islice(unreadable.items(), 3))
        )
    return Pictures(places, duplicates, over)


def passed_over(counts: Mapping[str, int]) -> str:
    """What is not taken, as people read it: "63 passed over: .heic 60, links in archives 3"."""
    shown = ", ".join(f"{kind} {count:,}" for kind, count in islice(counts.items(), 8))
    return f"{sum(counts.values()):,} passed over: {shown}{', …' if len(counts) > 8 else ''}"


def is_picture(name: str) -> bool:
    """Whether a file of that name is taken from a folder or an archive."""
    base = _base(name)
    return not base.startswith(".") and base.lower().endswith(SUFFIXES)


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _expand(path: str, passed: Counter[str], column: str | None = None) -> Iterator[tuple[str, Place]]:
    """What one path stands for. OSError for a path that is not there or not readable."""
    if path == STDIN:
        if sys.stdin is None:
            raise ValueError("standard input is closed; expected a list of paths there, or other paths than '-'")
        yield from _lines(sys.stdin.buffer, "standard input")
        return
    if is_remote(path):
        yield from _remote(lowered(path), passed)
        return
    if _state(path) == MISSING:
        if not glob.has_magic(path):
            raise FileNotFoundError(
                f"there is no {path!r:.300}; expected a picture, a folder, a glob, a text file of paths, a table "
                "or an archive"
            )
        yield from _glob(path, passed, column)
        return
    folder = Path(path).is_dir()
    if not os.access(path, os.R_OK | (os.X_OK if folder else 0)):
        raise PermissionError(EACCES, os.strerror(EACCES), path)
    if folder:
        yield from _walk(path, passed)
    elif path.lower().endswith(TAR):
        yield from _members(path, contents(path), passed)
    elif path.lower().endswith(ZIP):
        yield from _in_zip(path, passed)
    elif path.lower().endswith(TABLES):
        yield from _in_table(path, column)
    elif path.lower().endswith(LISTS):
        with Path(path).open("rb") as file:
            yield from _lines(file, path)
    else:
        yield os.path.normpath(path), None


def _state(path: str) -> str:
    """The size of a file and when it was modified, in nanoseconds; or that there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a name is no path yet)
    except (OSError, ValueError) as error:
        if is_of_the_system(error):
            raise
        return MISSING if not isinstance(error, PermissionError) else "not to be read"
    return f"{status.st_size} {status.st_mtime_ns}"


def _count(name: str, passed: Counter[str]) -> None:
    """Count a file that is not taken, unless it is hidden."""
    if not (base := _base(name)).startswith("."):
        passed[PurePosixPath(base).suffix.lower() or "no suffix"] += 1


def _members(archive: str, held: Contents, passed: Counter[str]) -> Iterator[tuple[str, Member | str]]:
    for member in held.members:
        if is_picture(member.name):
            yield f"{archive}/{member.name}", member
        else:
            _count(member.name, passed)
    passed.update(f"{kind} in archives" for name, kind in held.others.items() if is_picture(name))
    passed[DUPLICATES] += held.duplicates
    if held.problem:
        yield archive, held.problem


def _in_zip(archive: str, passed: Counter[str]) -> Iterator[tuple[str, Place]]:
    found, duplicates, problem = zip_contents(archive)
    for name, place in found.items():
        if is_picture(name):
            yield f"{archive}/{name}", place
        else:
            _count(name, passed)
    passed[DUPLICATES] += duplicates
    if problem:
        yield archive, problem


def _in_table(table: str, column: str | None) -> Iterator[tuple[str, Place]]:
    for number, (where,) in enumerate(rows_of(Path(table), [PICTURE if column is None else [column]]), 1):
        name = f"{table}/row {number}"
        if isinstance(where, Row):
            yield name, where
        elif not isinstance(where, str) or not where.strip() or "\0" in where:
            yield name, "the table names no picture there"
        elif is_remote(where):
            yield where, picture_at(where)
        else:
            yield os.path.normpath(Path(table).parent / where), None


def _remote(address: str, passed: Counter[str]) -> Iterator[tuple[str, Place]]:
    path = urlsplit(address).path.lower()
    if path.endswith((*TAR[1:], *ZIP, *TABLES, *LISTS)):
        raise ValueError(f"{address} is read where it lies only as .tar; fetch it first")
    if path.endswith(TAR):
        held, stamp = remote_contents(address)
        for name, inside in _members(address, held, passed):
            yield name, inside if isinstance(inside, str) else Remote(address, stamp, inside.offset, inside.size)
    elif address.startswith("s3:") and not is_picture(path):
        for name, place in listed(address):
            if is_picture(name):
                yield name, place
            else:
                _count(name, passed)
    else:
        yield address, picture_at(address)


def _glob(pattern: str, passed: Counter[str], column: str | None) -> Iterator[tuple[str, Place]]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute patterns)
    if not matches:
        raise FileNotFoundError(f"nothing matches {pattern!r:.300}; check the pattern (and the folder you are in)")
    # Unless tables are asked for, one is what somebody has written about the pictures beside it.
    taken = (*TAR, *ZIP, *LISTS, *(TABLES if pattern.lower().endswith(TABLES) else ()))
    covered: set[Path] = set()  # "**" matches a folder and everything in it; both would make duplicates
    for match in matches:
        if not covered.isdisjoint(Path(match).parents):
            continue
        if Path(match).is_dir():
            covered.add(Path(match))
        elif not is_picture(match) and not match.lower().endswith(taken):
            _count(match, passed)
            continue
        try:
            yield from _expand(match, passed, column)
        except (OSError, ValueError) as error:
            if is_of_the_system(error):
                raise
            yield match, _reason(error)


def _walk(folder: str, passed: Counter[str]) -> Iterator[tuple[str, Place]]:
    problems: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=problems.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if is_picture(name):
                yield str(Path(place, name)), None
            else:
                _count(name, passed)
        for name in folders:  # os.walk would say it later, and of a folder that nobody may enter nothing at all
            inside = str(Path(place, name))
            if not os.access(inside, os.R_OK | os.X_OK):
                yield inside, "the folder cannot be read: permission denied"
        folders[:] = [name for name in folders if os.access(Path(place, name), os.R_OK | os.X_OK)]
    for error in problems:
        if is_of_the_system(error):
            raise error
        yield str(error.filename), f"the folder {_reason(error)}"


def _reason(error: Exception) -> str:
    return f"cannot be read: {error.strerror or error}" if isinstance(error, OSError) else str(error)


def _lines(file: BinaryIO, where: str) -> Iterator[tuple[str, Place]]:
    """The paths in a text file, one a line, as bytes of the file system; blank lines and those after # mean nothing."""
    for number, line in enumerate(iter(partial(file.readline, MAX_LINE), b""), 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in line or len(line) == MAX_LINE:
            raise ValueError(f"{where}, line {number}, is no path; expected a text file with one path per line")
        text = os.fsdecode(line).rstrip("\r\n")
        if is_remote(address := text.strip()):
            yield address, picture_at(address)
        elif address and not address.startswith("#"):
            yield os.path.normpath(text), None
