"""What happened in each step: lines of JSON in a file, and curves of them."""

import json
import os
from pathlib import Path
from typing import Any, Self

from aimv2_np.errors import CheckpointError
from aimv2_np.files.atomic import atomic_write, naming_path

FILE = "log.jsonl"
CURVES = "curves.png"


class Log:
    """Lines of numbers, one for each step, written as they come.

    Args:
        folder: where `log.jsonl` lies.
        step: what is known of later steps is forgotten: they are taken again.

    Attributes:
        first: the numbers of the first step; None before it.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / FILE
        kept = [line for line in read(self.path) if line["step"] <= step]
        self.first = kept[0] if kept else None
        with atomic_write(self.path, overwrite=True) as file:
            file.writelines(_line(numbers) for numbers in kept)

    def __enter__(self) -> Self:
        self._file = self.path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, numbers: dict[str, float]) -> None:
        """Add a line; others can read it at once."""
        self.first = self.first or numbers
        with naming_path(self.path):
            self._file.write(_line(numbers))
            self._file.flush()


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a log, without one that was cut off; none where there is no file. CheckpointError for another."""
    path = Path(path)
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    try:
        found = [json.loads(line) for line in lines]
    except ValueError as error:
        raise CheckpointError(f"{path} is no log of a training: {error}; remove it to go on without") from None
    if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in found):
        raise CheckpointError(f"{path} has a line without a step; remove it to go on without what was logged")
    return found


def _line(numbers: dict[str, Any]) -> bytes:
    return json.dumps(numbers).encode() + b"\n"
