"""Tables of pictures: CSV, TSV and Parquet, where the pictures may lie in the table itself."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aimv2_np.tasks.embedding.parquet import pyarrow

TABLES = (".csv", ".tsv", ".parquet")
DELIMITERS = (",", "\t", ";", "|")
IMAGE = (
    "image", "path", "file", "filename", "file_name", "image_path", "filepath", "img", "picture", "jpg", "jpeg", "png",
    "webp",
)  # fmt: skip
PICTURE = (*IMAGE, "url", "image_url", "uri")  # where a path may be an address
GROUPS = 8  # of rows of a Parquet file whose pictures are kept, as they are read together
Wanted = Sequence[Sequence[str]]  # of each column the names that it may have, that of the pictures first


@dataclass(frozen=True)
class Row:
    """A picture in a Parquet file: the file's bytes in a column, or, as Hugging Face writes it, in `bytes` of one.

    Attributes:
        file: the Parquet file.
        number: of the row, the first is 1.
        group, place: in which group of rows it is, and where there; both from 0.
        column: of the pictures.
    """

    file: str
    number: int
    group: int
    place: int
    column: str

    @property
    def where(self) -> str:
        """Where in it, as a text."""
        return f"{self.number} {self.column}"

    def read(self) -> bytes:
        """The picture's file. ValueError where there is none."""
        try:
            data = _pictures(self.file, self.group, self.column)[self.place]
        except OSError as error:  # by which pyarrow tells of damage, too
            if error.errno is not None:
                raise
            raise ValueError(f"{self.column} of row {self.number} cannot be read: {error}") from error
        if not isinstance(data, bytes):
            raise ValueError(f"{self.column} of row {self.number} has no bytes; expected those of a picture's file")
        return data


@lru_cache(GROUPS)
def _pictures(path: str, group: int, column: str) -> list[Any]:
    with pyarrow().parquet.ParquetFile(path) as file:
        found = file.read_row_group(group, columns=[column]).column(0)
    return list((found.combine_chunks().field("bytes") if _is_struct(found.type) else found).to_pylist())


def rows_of(path: Path, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """Of each row what stands in the columns that are wanted; of a picture in Parquet its `Row`.

    Raises:
        ValueError: it is no table in UTF-8, or a column is missing.
        ImportError: a Parquet file, and pyarrow is not installed.
    """
    return (_parquet if path.suffix.lower() == ".parquet" else _delimited)(path, wanted)


def _by_name(names: Any) -> dict[str, str]:
    """The names of columns as they are written, by how they are compared."""
    return {str(name).strip().lower(): name for name in names if name is not None}


def _chosen(names: Any, wanted: Wanted, path: Path) -> list[str]:
    """The columns by one of the names that are wanted for each; ValueError where one is missing."""
    known = _by_name(names)
    found = []
    for some in wanted:
        column = next((known[name.strip().lower()] for name in some if name.strip().lower() in known), None)
        if column is None:
            raise ValueError(f"{path} has the columns {', '.join(known)[:200]}; expected one named {' or '.join(some)}")
        if list(names).count(column) > 1:
            raise ValueError(f"{path} has several columns named {column!r:.80}; expected one: rename the others")
        found.append(column)
    return found


def _delimited(path: Path, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=_delimiter(header, path, wanted), strict=True)
            columns = _chosen(rows.fieldnames, wanted, path) if header.strip() else []
            for number, row in enumerate(rows, 1):
                if row.get(None):  # where DictReader puts what is too much
                    raise ValueError(
                        f"{path}: row {number} has more fields than there are columns; expected a text with "
                        f"{rows.reader.dialect.delimiter!r} in it between quotes"
                    )
                yield tuple(row[column] for column in columns)
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from None
        except csv.Error as error:  # a quote that is never closed, a field of more than 131,072 characters
            raise ValueError(f"{path} cannot be read as a table to its end: {error}") from None


def _delimiter(header: str, path: Path, wanted: Wanted) -> str:
    """What stands between columns: what its suffix says, or what else gives columns that we know."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    for delimiter in (usual, *DELIMITERS):
        names = _by_name(next(csv.reader([header], delimiter=delimiter), []))
        if all(any(name.strip().lower() in names for name in some) for some in wanted):
            return delimiter
    return usual


def _parquet(path: Path, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    library = pyarrow()
    try:
        with library.parquet.ParquetFile(path) as file:
            picture, *others = _chosen(file.schema_arrow.names, wanted, path)
            held = _holds_files(file.schema_arrow.field(picture).type, f"{picture} in {path}")
            number = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if held:
                    places: list[Any] = [Row(str(path), number + i + 1, group, i, picture) for i in range(count)]
                else:
                    places = file.read_row_group(group, columns=[picture]).column(0).to_pylist()
                texts = (file.read_row_group(group, columns=[name]).column(0).to_pylist() for name in others)
                yield from zip(places, *texts, strict=True)
                number += count
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except (library.ArrowInvalid, OSError) as error:  # by which pyarrow tells of damage, too
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is no Parquet file: {error}") from None


def not_utf8(where: object, error: UnicodeDecodeError) -> ValueError:
    """What is said of a file that was written in another encoding."""
    return ValueError(
        f"{where} is not in UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8, from Latin-1 with "
        f"iconv -f latin1 -t utf-8"
    )


def _is_struct(kind: Any) -> bool:
    """Whether a column's values are Hugging Face's: {bytes, path}."""
    return pyarrow().types.is_struct(kind) and any(field.name == "bytes" for field in kind)


def _holds_files(kind: Any, column: str) -> bool:
    """Whether a column of this type holds pictures, and no paths; ValueError for what holds neither."""
    types = pyarrow().types
    value = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(value) or types.is_large_string(value) or str(value) == "string_view":
        return False
    if _is_struct(kind) or str(value).startswith(("binary", "large_binary", "fixed_size_binary")):
        return True
    raise ValueError(
        f"{column} is of the type {str(kind)[:80]}; expected paths, the bytes of pictures, or {{bytes, path}}: "
        "choose another column"
    )
