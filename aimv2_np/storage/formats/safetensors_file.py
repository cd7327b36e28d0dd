"""One safetensors file, mapped into memory: tensors are used where they lie."""

import mmap
import os
from pathlib import Path

import numpy as np

from aimv2_np.errors import CheckpointError, quoted
from aimv2_np.storage.formats.dtypes import Floats
from aimv2_np.storage.formats.header import read_header
from aimv2_np.storage.formats.mapped import MappedFile

# The format's dtypes that are NumPy's own.
NUMPY = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "|b1",
}  # fmt: skip


class SafetensorsFile(MappedFile):
    """The tensors of one file. Raises CheckpointError naming the file unless its header fits the file in every way."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {self.path}")
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.entries, self.metadata = read_header(file, size, str(self.path))
            self._bytes = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)

    def plain(self, name: str) -> Floats:
        """Tensor `name` as it is stored, integers and bools too: a read-only view of the mapped file where aligned.

        CheckpointError for a dtype that NumPy does not have.
        """
        entry = self.entries[name]
        if entry.dtype not in NUMPY:
            raise CheckpointError(
                f"{self.path}: tensor {quoted(name)} is stored as {entry.dtype}; expected one of {', '.join(NUMPY)}"
            )
        kind = np.dtype(NUMPY[entry.dtype])
        count = (entry.stop - entry.start) // kind.itemsize
        array = np.frombuffer(self._bytes, kind, count, entry.start) if count else np.empty(0, kind)
        array = array if array.flags.aligned else array.copy()
        array.flags.writeable = False
        return array.reshape(entry.shape)
