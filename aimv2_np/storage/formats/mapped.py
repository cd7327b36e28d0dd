"""A file of tensors, mapped into memory: what safetensors and MessagePack files have in common.

The libraries of both formats copy each tensor into memory of its own. Mapped, a checkpoint costs address space and no
memory until its pages are touched; the pages belong to the file, so two processes share them.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aimv2_np.errors import CheckpointError, quoted
from aimv2_np.storage.formats.dtypes import STORED, TARGETS, convert, is_finite
from aimv2_np.storage.formats.header import Entry

Floats = np.ndarray[Any, Any]


class MappedFile:
    """The tensors of one file, whose places in it have been checked.

    The file must not be changed in place while arrays of it are in use: reading a mapped file that somebody truncated
    ends the process. Replacing it, as all saving here does, is fine.
    """

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    # Arrays keep the mapping alive; it goes with the last of them.
    _bytes: mmap.mmap

    def read(self, name: str, dtype: str = "float32") -> Floats:
        """Tensor `name` as a read-only array of `dtype`: "float32", "float64" or "float16".

        Stored in that dtype, and aligned, it is a view of the mapped file, no byte of which has been read yet, so
        nothing is known about its values. Otherwise it is converted, and CheckpointError is raised for values that are
        not finite, or are too large for `dtype`; so it is for a tensor that holds no floating-point numbers. KeyError
        for a name that is not in the file.
        """
        check_target(dtype)
        return as_dtype(self.stored(name), self.entries[name].dtype, dtype, f"{self.path}: tensor {quoted(name)}")

    def stored(self, name: str) -> Floats:
        """The numbers of tensor `name` as they are stored (bfloat16 as its bits, see `STORED`): a view, never a copy.

        Raises CheckpointError for a tensor that holds no floating-point numbers.
        """
        entry = self.entries[name]
        if entry.dtype not in STORED:
            raise CheckpointError(
                f"{self.path}: tensor {quoted(name)} is stored as {entry.dtype}; expected weights in "
                f"{', '.join(STORED)}: quantised checkpoints are not read, use the original one"
            )
        kind = np.dtype(STORED[entry.dtype])
        count = (entry.stop - entry.start) // kind.itemsize
        if count == 0:  # an offset at the very end of the file is more than frombuffer takes
            return np.empty(entry.shape, kind)
        return np.frombuffer(self._bytes, kind, count, entry.start).reshape(entry.shape)

    def is_finite(self, name: str) -> bool:
        """Whether no value of tensor `name` is inf or NaN; reads all of it."""
        return is_finite(self.stored(name).reshape(-1), self.entries[name].dtype)

    def release(self) -> None:
        """Let go of the memory that reading has taken so far; the system fetches what is read again."""
        if hasattr(self._bytes, "madvise"):  # Windows has none
            self._bytes.madvise(mmap.MADV_DONTNEED)


def check_target(dtype: str) -> None:
    """ValueError unless `dtype` is one that models compute in."""
    if dtype not in TARGETS:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(TARGETS)}")


def as_dtype(stored: Floats, dtype: str, target: str, what: str) -> Floats:
    """An array as it is stored, of the format's `dtype`, as a read-only one of `target`, in C order and aligned.

    What is so already is returned as it is. Raises CheckpointError, beginning with `what`, as `convert` does.
    """
    if dtype == TARGETS[target] and stored.flags.c_contiguous and stored.flags.aligned:
        array = stored[...]
    elif dtype == TARGETS[target]:
        array = stored.copy(order="C")
    else:
        array = convert(np.ascontiguousarray(stored).reshape(-1), dtype, target, what).reshape(stored.shape)
    array.flags.writeable = False
    return array
