"""A file of tensors, mapped into memory: what safetensors and MessagePack files have in common.

The libraries of both formats copy each tensor into memory of its own. Mapped, a checkpoint costs address space and no
memory until its pages are touched; the pages belong to the file, so two processes share them.
"""

import mmap
from abc import abstractmethod
from collections.abc import Mapping
from os import PathLike, fstat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from aimv2_np.backends.dtypes import FLOATS, HELD
from aimv2_np.errors import CheckpointError, quoted
from aimv2_np.files.atomic import naming_path
from aimv2_np.shapes import NDArray
from aimv2_np.storage.formats.casting import as_dtype
from aimv2_np.storage.formats.header import TensorEntry


class MappedFile:
    """The tensors of one file, whose places in it have been checked.

    The file must not be changed in place while arrays of it are in use: reading a mapped file that somebody truncated
    ends the process. Replacing it, as all saving here does, is fine.

    Raises FileNotFoundError when there is no such file, CheckpointError naming it when it is damaged.
    """

    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {self.path}")
        with self.path.open("rb") as file:
            if not fstat(file.fileno()).st_size:  # cannot be mapped
                raise CheckpointError(f"{self.path} is truncated: it is empty; fetch it again")
            # Arrays keep the mapping alive; it goes with the last of them.
            with naming_path(self.path):
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.entries, self.metadata = self._read_places(file)

    @abstractmethod
    def _read_places(self, file: BinaryIO) -> tuple[dict[str, TensorEntry], dict[str, str]]:
        """The tensors of the open file, each with its place in it, and the file's metadata."""

    def label(self, name: str) -> str:
        """What messages call a tensor: its file and its name."""
        return f"{self.path}: tensor {quoted(name)}"

    def read(self, name: str, dtype: str = "float32") -> NDArray:
        """Tensor `name` as a read-only array of `dtype`, as `casting.as_dtype` makes it of what is stored; what that
        raises, and KeyError for a name that is not in the file. A view is of no byte that has been read yet: nothing is
        known about its values.
        """
        return as_dtype(self.stored(name), self.entries[name].dtype, dtype, self.label(name))

    def stored(self, name: str) -> NDArray:
        """The numbers of tensor `name` as they are stored, bfloat16 as its bits: a read-only view, never a copy.

        Raises CheckpointError for a tensor that holds no floating-point numbers.
        """
        if (code := self.entries[name].dtype) not in FLOATS.values():
            raise CheckpointError(
                f"{self.label(name)} is stored as {code}; expected weights in {', '.join(FLOATS.values())}, or I8 with "
                f"{quoted(name + '_scale')}, a factor for each row: others that are quantised are not read, use the "
                "original one"
            )
        return self._view(name)

    def plain(self, name: str) -> NDArray:
        """Tensor `name` as it is stored, integers and bools too: read-only, and a view of the file where it is aligned.

        CheckpointError for a dtype that NumPy does not have.
        """
        code, known = self.entries[name].dtype, [code for code in HELD if code != "BF16"]
        if code not in known:
            raise CheckpointError(f"{self.label(name)} is stored as {code}; expected one of {', '.join(known)}")
        view = self._view(name)
        array = view if view.flags.aligned else view.copy()
        array.flags.writeable = False
        return array

    def _view(self, name: str) -> NDArray:
        entry = self.entries[name]
        kind = HELD[entry.dtype]
        count = (entry.stop - entry.start) // kind.itemsize
        if count == 0:  # an offset at the very end of the file is more than frombuffer takes
            return np.empty(entry.shape, kind)
        return np.frombuffer(self._bytes, kind, count, entry.start).reshape(entry.shape)

    def release(self) -> None:
        """Give back the memory that reading has taken; the system reads the pages again when they are used."""
        if hasattr(self._bytes, "madvise"):  # Windows has none
            self._bytes.madvise(mmap.MADV_DONTNEED)
