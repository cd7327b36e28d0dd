"""Pictures with captions of the user's own: beside each other in folders and archives, or listed in a table.

    photos/a.jpg, photos/a.txt           a folder, searched with all below it
    shard-0000.tar: 17.jpg, 17.txt       an archive; several by a pattern
    pairs.csv, .tsv, .parquet            a table: `image`, a path from where the table lies or, in Parquet, the picture
                                         itself, and `caption`; several by a pattern
    world                                the package's own world of coloured shapes

In the place of a text there may be JSON with a field `caption`, which webdataset's users know as `17.json`. A picture
is read when it is asked for, and never unpacked to disk; captions are read when all begins.
"""

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from aimv2_np.processing.loading import load_pixels
from aimv2_np.tasks.embedding.sources import find_pictures
from aimv2_np.tasks.embedding.tables import TABLES, Row
from aimv2_np.tasks.embedding.tar import Member, read_any
from aimv2_np.training.batches import Captioned
from aimv2_np.training.beside import pictures_with_captions
from aimv2_np.training.tables import of_table
from aimv2_np.training.world import World

WORLD = "world"
SMALL = 1 << 16  # bytes of a file that is looked at as a whole; of a larger one so many at three places:
LOOKED_AT = 1 << 12
DIGITS = 16  # of a digest in what is told


@dataclass(frozen=True)
class Files:
    """Pictures in files, each read when it is asked for.

    Attributes:
        pairs: (where the picture lies: a path, a member of an archive or a row of a table; its caption).
    """

    pairs: Sequence[tuple[str | Member | Row, str]]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        place, caption = self.pairs[number]
        if isinstance(place, Row):
            return Image.fromarray(load_pixels(place.read())), caption
        return Image.fromarray(load_pixels(read_any(place) if isinstance(place, Member) else place)), caption

    @property
    def facts(self) -> Mapping[str, Any]:
        """How many there are, and digests of their names, their captions and their contents, in order.

        Of a picture's file the size is looked at, and its bytes; of more than 64 KB those at its beginning, in its
        middle and at its end, which differ in any picture that is compressed. When it was written does not matter. Of
        compressed archives and of Parquet, whose ends hold the sums and sizes of what is in them, the file itself is
        looked at in that way.
        """
        names, captions, contents = sha256(), sha256(), sha256()
        whole = cache(lambda path: _looks(path, 0, None))  # of an archive looked at once
        for place, caption in self.pairs:
            names.update(_name(place).encode(errors="surrogateescape") + b"\0")
            captions.update(caption.encode(errors="surrogatepass") + b"\0")
            if isinstance(place, Member) and not place.compressed:
                contents.update(_looks(place.file, place.offset, place.size))
            else:
                contents.update(whole(_file(place)))
        told = {"names": names, "captions": captions, "contents": contents}
        return {"pictures": len(self.pairs), **{name: digest.hexdigest()[:DIGITS] for name, digest in told.items()}}

    def name(self, number: int) -> str:
        """What a picture is called in messages."""
        return _name(self.pairs[number][0])


def open_captioned(place: str | os.PathLike[str]) -> Captioned:
    """The pictures and captions that `place` names: see above.

    Raises:
        FileNotFoundError: there is nothing of that name, or a table names a picture that is not there.
        ValueError: there are no pictures with captions, a table is none, or a caption is not in UTF-8.
        ImportError: a Parquet file, and pyarrow is not installed.
    """
    name = os.fspath(place)
    if name == WORLD:
        return World()
    pattern = not os.path.lexists(name) and glob.has_magic(name)
    if not os.path.lexists(name) and not pattern:
        raise FileNotFoundError(
            f"there is no {name!r}; expected a folder, table or archive of pictures with captions, or {WORLD!r}"
        )
    if Path(name).suffix.lower() in TABLES:
        tables = sorted(glob.glob(name, recursive=True)) if pattern else [name]  # noqa: PTH207 (as in find_pictures)
        if not tables:
            raise FileNotFoundError(f"nothing matches {name!r:.300}; check the pattern (and the folder you are in)")
        return Files([pair for table in tables for pair in of_table(Path(table))])
    return Files(pictures_with_captions(name, find_pictures([name])))


def _looks(path: str, start: int, size: int | None) -> bytes:
    """The size of a file, or of a part of one, and some of it, or all; of one that cannot be read nothing."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END) - start if size is None else size
            said = [str(size).encode()]
            small = size <= SMALL
            for offset in (0,) if small else (0, size // 2, size - LOOKED_AT):
                file.seek(start + offset)
                said.append(file.read(size if small else LOOKED_AT))
    except OSError:  # a picture that is left out later
        return b"unreadable"
    return b"\0".join(said)


def _file(place: str | Member | Row) -> str:
    return place if isinstance(place, str) else place.file


def _name(place: str | Member | Row) -> str:
    if isinstance(place, Row):
        return f"{place.file}, row {place.number}"
    return f"{place.file}/{place.name}" if isinstance(place, Member) else place
