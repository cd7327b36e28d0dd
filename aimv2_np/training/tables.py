"""Tables of pictures with captions."""

from collections.abc import Iterator
from pathlib import Path

from aimv2_np.errors import mismatch
from aimv2_np.tasks.embedding.tables import IMAGE, Row, rows_of

CAPTION = ("caption", "text", "txt", "prompt", "description", "title")


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
    for number, (where, text) in enumerate(rows_of(path, (IMAGE, CAPTION)), 1):
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
