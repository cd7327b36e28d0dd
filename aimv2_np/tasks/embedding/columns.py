"""Arrays that are written to a file piece by piece, so that they need not fit into memory.

Their names, dtypes and shapes are known at the beginning, and go into the header of the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from aimv2_np.backends.dtypes import CODES
from aimv2_np.shapes import NDArray
from aimv2_np.storage.formats.header import write_header
from aimv2_np.storage.formats.safetensors_writer import write_array


@dataclass(frozen=True)
class Column:
    """One array: its name, dtype and shape, and its content in pieces along the first axis."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[NDArray]]

    @property
    def nbytes(self) -> int:
        """How many bytes all pieces have."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def write_safetensors(file: BinaryIO, columns: Sequence[Column], metadata: Mapping[str, str]) -> None:
    """Write columns and metadata as safetensors; widest numbers first, so that all are aligned."""
    named = {column.name: column for column in columns}
    tensors = {column.name: (CODES[column.dtype.name], column.shape) for column in columns}
    for name in write_header(file, tensors, metadata):
        for piece in named[name].pieces():
            write_array(file, piece)


def regroup(pieces: Iterable[NDArray], sizes: Iterable[int]) -> Iterator[NDArray]:
    """The rows of `pieces`, taken one after the other, as arrays of `sizes` rows each."""
    source = iter(pieces)
    rest: list[NDArray] = []
    for size in sizes:
        taken: list[NDArray] = []
        missing = size
        while missing or not taken:
            piece = rest.pop() if rest else next(source)
            taken.append(piece[:missing])
            if len(piece) > missing:
                rest.append(piece[missing:])
            missing -= len(taken[-1])
        yield taken[0] if len(taken) == 1 else np.concatenate(taken)
