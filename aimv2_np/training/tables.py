"""Tables of pictures with captions: CSV, TSV and Parquet, where the pictures may lie in the table itself."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aimv2_np.errors import mismatch
from aimv2_np.tasks.embedding.parquet import pyarrow
from aimv2_np.training.beside import not_utf8

TABLES = (".csv", ".tsv", ".parquet")
DELIMITERS = (",", "\t", ";", "|")
IMAGE = (
    "image", "path", "file", "filename", "file_name", "image_path", "filepath", "img", "picture", "jpg", "jpeg", "png",
    "webp",
)  # fmt: skip
CAPTION = ("caption", "text", "txt", "prompt", "description", "title")
GROUPS = 8  # of rows of a Parquet file whose pictures are kept, as they are read together


@dataclass(frozen=True)
class Row:
    """A picture in a Parquet file: the file's bytes in a column, or, as Hugging Face writes it, in `bytes` of one.

    Attributes:
        path: of the Parquet file.
        number: of the row, the first is 1.
        group, place: in which group of rows it is, and where there; both from 0.
        column: of the pictures.
    """

    path: str
    number: int
    group: int
    place: int
    column: str

    def read(self) -> bytes:
        """The picture's file. ValueError where there is none."""
        data = _pictures(self.path, self.group, self.column)[self.place]
        if not isinstance(data, bytes):
            raise ValueError(f"{self.column} of row {self.number} has no bytes; expected those of a picture's file")
        return data


@lru_cache(GROUPS)
def _pictures(path: str, group: int, column: str) -> list[Any]:
    with pyarrow().parquet.ParquetFile(path) as file:
        found = file.read_row_group(group, columns=[column]).column(0).combine_chunks()
    return list((found.field("bytes") if _is_struct(found.type) else found).to_pylist())


def of_table(path: Path) -> Iterator[tuple[str | Row, str]]:
    """Where each picture of a table lies, and its caption.

    Raises:
        FileNotFoundError: there is no such table, or it names a picture that is not there.
        ValueError: it is no table in UTF-8, or a row holds no picture and caption.
        ImportError: a Parquet file, and pyarrow is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    number = 0
    for number, (where, text) in enumerate((_parquet if path.suffix.lower() == ".parquet" else _delimited)(path), 1):
        if not isinstance(where, str | Row) or not isinstance(text, str) or not where:
            raise ValueError(f"{path}: row {number} " + mismatch((where, text), "a picture's path and a caption"))
        if isinstance(where, str):
            picture = path.parent / where
            if not picture.is_file():
                raise FileNotFoundError(f"{path}: row {number} names {where!r:.200}, and there is no file {picture}")
            where = str(picture)
        yield where, text
    if not number:
        raise ValueError(f"{path} has no rows; expected one for each picture, below a row with the names of columns")


def _columns(names: Any) -> dict[str, str]:
    """The names of columns as they are written, by how they are compared."""
    return {str(name).strip().lower(): name for name in names if name is not None}


def _two(names: Any, path: Path) -> tuple[str, str]:
    """The columns of the picture and of the caption; ValueError where one is missing."""
    known = _columns(names)
    found = [next((known[name] for name in wanted if name in known), None) for wanted in (IMAGE, CAPTION)]
    for column, wanted in zip(found, (IMAGE, CAPTION), strict=True):
        if column is None:
            raise ValueError(
                f"{path} has the columns {', '.join(known)[:200]}; expected one named {' or '.join(wanted)}"
            )
    return found[0], found[1]  # type: ignore[return-value]  # neither is None


def _delimited(path: Path) -> Iterator[tuple[Any, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=_delimiter(header, path), strict=True)
            picture, caption = _two(rows.fieldnames, path) if header.strip() else ("", "")
            for number, row in enumerate(rows, 1):
                if row.get(None):  # where DictReader puts what is too much
                    raise ValueError(
                        f"{path}: row {number} has more fields than there are columns; expected a caption with "
                        f"{rows.reader.dialect.delimiter!r} in it between quotes"
                    )
                yield row[picture], row[caption]
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from None
        except csv.Error as error:  # a quote that is never closed, a field of more than 131,072 characters
            raise ValueError(f"{path} cannot be read as a table to its end: {error}") from None


def _delimiter(header: str, path: Path) -> str:
    """What stands between columns: what its suffix says, or what else gives columns that we know."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    for delimiter in (usual, *DELIMITERS):
        names = _columns(next(csv.reader([header], delimiter=delimiter), []))
        if all(any(name in names for name in wanted) for wanted in (IMAGE, CAPTION)):
            return delimiter
    return usual


def _parquet(path: Path) -> Iterator[tuple[Any, Any]]:
    library = pyarrow()
    try:
        with library.parquet.ParquetFile(path) as file:
            picture, caption = _two(file.schema_arrow.names, path)
            kind = file.schema_arrow.field(picture).type
            held = _is_struct(kind) or library.types.is_binary(kind) or library.types.is_large_binary(kind)
            number = 0
            for group in range(file.num_row_groups):
                texts = file.read_row_group(group, columns=[caption]).column(0).to_pylist()
                if held:
                    places: list[Any] = [Row(str(path), number + i + 1, group, i, picture) for i in range(len(texts))]
                else:
                    places = file.read_row_group(group, columns=[picture]).column(0).to_pylist()
                yield from zip(places, texts, strict=True)
                number += len(texts)
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except library.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from None


def _is_struct(kind: Any) -> bool:
    """Whether a column's values are Hugging Face's: {bytes, path}."""
    return pyarrow().types.is_struct(kind) and any(field.name == "bytes" for field in kind)
