"""Pictures with captions of the user's own: beside each other in folders and archives, or listed in a table.

    photos/a.jpg, photos/a.txt           a folder, searched with all below it
    shard-0000.tar: 17.jpg, 17.txt       an archive; several by a pattern
    pairs.csv, .tsv, .parquet            a table: `image`, a path from where the table lies, and `caption`
    world                                the package's own world of coloured shapes

A picture is read when it is asked for, and never unpacked to disk.
"""

import csv
import os
import posixpath
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from aimv2_np.errors import mismatch
from aimv2_np.processing.loading import load_pixels
from aimv2_np.tasks.embedding.parquet import pyarrow
from aimv2_np.tasks.embedding.sources import find_pictures
from aimv2_np.tasks.embedding.tar import Member, contents, read_any
from aimv2_np.training.batches import Captioned
from aimv2_np.training.world import World

WORLD = "world"
MAX_CAPTION = 1 << 16  # bytes
IMAGE, CAPTION = ("image", "path", "file", "filename", "file_name", "image_path"), ("caption", "text")


@dataclass(frozen=True)
class Files:
    """Pictures in files, each read when it is asked for.

    Attributes:
        pairs: (the picture's name, where it lies: a path, or a member of an archive; where its caption lies, or the
            caption itself).
    """

    pairs: Sequence[tuple[str | Member, str | Path | Member]]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        place, caption = self.pairs[number]
        pixels = load_pixels(read_any(place) if isinstance(place, Member) else place)
        return Image.fromarray(pixels), _text(caption)

    @property
    def facts(self) -> Mapping[str, Any]:
        """How many there are, and a digest of their names and of a table's captions, in order."""
        names = sha256()
        for place, caption in self.pairs:
            said = f"{caption}\0" if isinstance(caption, str) else ""
            names.update(f"{_name(place)}\0{said}".encode(errors="surrogateescape"))
        return {"pictures": len(self.pairs), "names": names.hexdigest()}

    def name(self, number: int) -> str:
        """What a picture is called in messages."""
        return _name(self.pairs[number][0])


def open_captioned(place: str | os.PathLike[str]) -> Captioned:
    """The pictures and captions that `place` names: see above.

    Raises:
        FileNotFoundError: there is nothing of that name, or a table names a picture that is not there.
        ValueError: there are no pictures with captions, or a table is none.
        ImportError: a Parquet file, and pyarrow is not installed.
    """
    name = os.fspath(place)
    if name == WORLD:
        return World()
    if not os.path.lexists(name) and not set(name) & set("*?["):
        raise FileNotFoundError(
            f"there is no {name!r}; expected a folder, table or archive of pictures with captions, or {WORLD!r}"
        )
    suffix = Path(name).suffix.lower()
    if suffix in (".csv", ".tsv", ".parquet"):
        return Files(list(_of_table(Path(name), _parquet if suffix == ".parquet" else _delimited)))
    found = find_pictures([name])
    for it, where in found.places.items():
        if isinstance(where, str):
            warnings.warn(f"{it}: {where}", stacklevel=2)  # of an archive, what lies before the damage is taken
    texts = cache(_texts)  # of an archive asked for once
    beside = [
        (it, _caption_beside(it, where, texts)) for it, where in found.places.items() if not isinstance(where, str)
    ]
    pairs = [
        (where if isinstance(where := found.places[it], Member) else it, caption)
        for it, caption in beside if caption is not None
    ]  # fmt: skip
    if not pairs:
        raise ValueError(
            f"{name} holds {len(beside)} pictures and no captions; expected a text beside each, of the same name: "
            "a.jpg and a.txt"
        )
    if len(pairs) < len(beside):
        warnings.warn(
            f"{len(beside) - len(pairs):,} of {len(beside):,} pictures of {name} have no caption and are left out; "
            "expected a text beside each, of the same name: a.jpg and a.txt",
            stacklevel=2,
        )
    return Files(pairs)


def _caption_beside(
    name: str, place: Member | None, texts: Callable[[str], Mapping[str, Member]]
) -> Path | Member | None:
    """Where the caption of a picture lies, if it has one."""
    if place is None:
        path = Path(name).with_suffix(".txt")
        return path if path.is_file() else None
    return texts(place.archive).get(str(PurePosixPath(posixpath.normpath(place.name)).with_suffix(".txt")))


def _texts(archive: str) -> dict[str, Member]:
    """The texts in an archive by their names; `tar -c .` begins each with "./", which is no part of it."""
    members = contents(archive).members
    return {posixpath.normpath(member.name): member for member in members if member.name.endswith(".txt")}


def _of_table(path: Path, read: Callable[[Path], Iterator[dict[str, Any]]]) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    columns: list[str] = []
    for number, row in enumerate(read(path), 1):
        columns = columns or [_column(row, names, path) for names in (IMAGE, CAPTION)]
        where, text = (row[column] for column in columns)
        if not isinstance(where, str) or not isinstance(text, str) or not where:
            raise ValueError(f"{path}: row {number} " + mismatch((where, text), "a path and a caption"))
        picture = path.parent / where
        if not picture.is_file():
            raise FileNotFoundError(f"{path}: row {number} names {where!r:.200}, and there is no file {picture}")
        yield str(picture), text
    if not columns:
        raise ValueError(f"{path} has no rows; expected one for each picture, below a row with the names of columns")


def _column(row: Mapping[str, Any], names: tuple[str, ...], path: Path) -> str:
    known = {str(key).strip().lower(): key for key in row if key is not None}
    for name in names:
        if name in known:
            return known[name]
    raise ValueError(f"{path} has the columns {', '.join(known)[:200]}; expected one named {' or '.join(names)}")


def _delimited(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield from csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no table in UTF-8: {error}") from None
        except csv.Error as error:  # a quote that is never closed, a field of more than 131,072 characters
            raise ValueError(f"{path} cannot be read as a table to its end: {error}") from None


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    library = pyarrow()
    try:
        with library.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except library.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from None


def _name(place: str | Member) -> str:
    return f"{place.archive}/{place.name}" if isinstance(place, Member) else place


def _text(caption: str | Path | Member) -> str:
    """A caption, from where it lies; its first 64 KB."""
    if isinstance(caption, str):
        return caption
    if isinstance(caption, Path):
        with caption.open("rb") as file:
            data = file.read(MAX_CAPTION)
    else:
        data = read_any(caption)[:MAX_CAPTION]
    return data.decode("utf-8-sig", errors="replace").strip()
