"""Writing that leaves the whole file or none: what is written becomes the file when all of it is there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

ADVICE: Final = "choose another place, or pass overwrite=True to replace it"


@contextmanager
def naming_path(path: str | os.PathLike[str]) -> Iterator[None]:
    """An error of the system without a name (no space, too large a file, a disk that fails) gets that of `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def atomic_write(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary file to write to that becomes `path` when the block ends well, and leaves no trace when it does not.

    Raises FileExistsError for an existing `path` unless `overwrite`, and FileNotFoundError where there is no folder for
    it, before anything is written.
    """
    path = Path(path)
    require_folder(path)
    refuse_existing(path, overwrite)
    # Not tempfile: its files are private to the user (0600), and so would be the one it is renamed to.
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with naming_path(path), temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        refuse_existing(path, overwrite)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_folder(path: Path) -> None:
    """FileNotFoundError when the folder that `path` is to lie in is not there."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to; make it first")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """FileExistsError when `path` exists and may not be overwritten; IsADirectoryError when it is a folder."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the name of a file to write")
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists already; {ADVICE}")


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """`folder` as a Path, created with its parents where missing; NotADirectoryError when it is a file."""
    folder = Path(os.path.expanduser(folder))  # noqa: PTH111 (Path.expanduser raises for "~nobody")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder} cannot be a folder: a file of that name is in the way") from None
    return folder
