"""Writing a recording while the model runs: each array goes to disk as it comes, so memory stays bounded.

A safetensors file begins with a header that tells the place of every tensor, which is known only at the end. So the
arrays wait in a temporary file beside the recording, and the recording is put together from it when all have come.
"""

import json
import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import numpy as np

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.backends.dtypes import CODES
from aimv2_np.files.atomic import atomic_write, refuse_existing
from aimv2_np.recording.recording import ACTIVATIONS, FORMAT, INPUTS, TABLES
from aimv2_np.recording.slices import parse_slice
from aimv2_np.recording.statistics import NDArray, Statistics, summarize
from aimv2_np.shapes import Array
from aimv2_np.storage.formats.header import write_header
from aimv2_np.storage.formats.safetensors_writer import write_array

PIECE = 2**24  # bytes copied at a time
SMALL_INPUT = 2**14  # bytes: a recording of statistics holds inputs up to this size only


def check_place(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """FileExistsError when `path` is there and may not be overwritten; FileNotFoundError when its folder is not."""
    refuse_existing(Path(path), overwrite)
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {Path(path).parent}; make it first")


class RecordingWriter:
    """A recording that is being written; use as a context manager: `path` appears when the block ends well.

    Args:
        path: the file to write.
        source: what computes the activations: "aimv2_np", "torch", "onnxruntime" or "arrays".
        statistics: keep statistics of each activation instead of the activation.
        whole: globs; with `statistics`, what matches is kept whole as well (an input is matched as "inputs/<name>").
        slices: glob → part of the activations to keep ("0, :16"); the first glob that matches a path counts.
        overwrite: replace a file that is there.
        metadata: what else is known: config, config_hash, weights_hash, versions, dtype, backend, seed.

    Raises:
        FileExistsError: `path` is there and `overwrite` is False.
        FileNotFoundError: there is no such folder.
        ValueError: a slice that is none, or slices together with statistics, which are of whole arrays.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source: str = "arrays",
        statistics: bool = False,
        whole: Iterable[str] = (),
        slices: Mapping[str, str] | None = None,
        overwrite: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self._overwrite, self._statistics = Path(path), overwrite, statistics
        self._whole = tuple(whole)
        self._slices = {glob: (text, parse_slice(text)) for glob, text in (slices or {}).items()}
        if statistics and self._slices:
            raise ValueError("slices and statistics were both asked for; statistics are of whole arrays, drop one")
        check_place(self.path, overwrite)
        self.metadata = {"format": FORMAT, "source": source, **(metadata or {})}
        self._order: dict[str, tuple[tuple[int, ...], str]] = {}  # path -> shape and dtype of the whole activation
        self._sliced: dict[str, str] = {}
        self._summaries: dict[str, Statistics] = {}
        self._places: dict[str, tuple[str, tuple[int, ...], int, int]] = {}  # tensor -> dtype, shape, offset, bytes

    def __enter__(self) -> Self:
        self._data = TemporaryFile(dir=self.path.parent)  # closed in __exit__
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._data:
            if kind is None:
                self._finish()

    @property
    def order(self) -> tuple[str, ...]:
        """The paths that have been recorded so far."""
        return tuple(self._order)

    def add_input(self, name: str, array: Array) -> None:
        """Record an argument of the model; in a recording of statistics only if it is small (16 KiB)."""
        values = to_numpy(array)
        if not self._statistics or values.nbytes <= SMALL_INPUT or self._is_whole(INPUTS + name):
            self._append(INPUTS + name, values)

    def add(self, path: str, array: Array, dtype: str | None = None) -> None:
        """Record the activation `array` of the module at `path`; nothing of it is kept in memory.

        `dtype` is the one it was computed in, where NumPy lacks it ("bfloat16"). A path that comes again replaces what
        was recorded before, and moves to the end of the order. ValueError for what the format cannot hold.
        """
        values = to_numpy(array)
        self._order.pop(path, None)
        self._order[path] = (values.shape, dtype or array.dtype.name)
        if self._statistics:
            self._summaries[path] = summarize(path, values)
        if not self._statistics or self._is_whole(path):
            self._append(ACTIVATIONS + path, self._part(path, values))

    def _is_whole(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._whole)

    def _part(self, path: str, values: NDArray) -> NDArray:
        for glob, (text, index) in self._slices.items():
            if fnmatchcase(path, glob):
                self._sliced[path] = text
                try:
                    return np.asarray(values[index])
                except IndexError as error:
                    raise ValueError(
                        f"the slice {text!r} does not fit {path} of shape {values.shape}: {error}"
                    ) from None
        return values

    def _append(self, name: str, values: NDArray) -> None:
        if values.dtype.name not in CODES:
            raise ValueError(f"{name} has the dtype {values.dtype}; expected one of {', '.join(CODES)}")
        offset = self._data.seek(0, os.SEEK_END)
        write_array(self._data, values)
        self._places[name] = (CODES[values.dtype.name], values.shape, offset, values.nbytes)

    def _finish(self) -> None:
        if self._statistics:
            for name, table in self._tables().items():
                self._append(name, table)
        tensors = {name: (dtype, shape) for name, (dtype, shape, _, _) in self._places.items()}
        with atomic_write(self.path, self._overwrite) as file:
            for name in write_header(file, tensors, self._all_metadata()):
                _, _, offset, size = self._places[name]
                self._data.seek(offset)
                for start in range(0, size, PIECE):
                    file.write(self._data.read(min(PIECE, size - start)))

    def _all_metadata(self) -> dict[str, str]:
        dtypes = [dtype for _, dtype in self._order.values()]
        facts: dict[str, Any] = {
            "order": list(self._order),
            "shapes": [shape for shape, _ in self._order.values()],
            "dtypes": dtypes[0] if len(set(dtypes)) == 1 else dtypes,
        }
        if self._sliced:
            facts["slices"] = self._sliced
        return self.metadata | {key: json.dumps(value, separators=(",", ":")) for key, value in facts.items()}

    def _tables(self) -> dict[str, NDArray]:
        tables = {name: np.zeros((len(self._order), columns), np.float32) for name, columns in TABLES.items()}
        tables["statistics"] = tables["statistics"].astype(np.float64)
        for row, path in enumerate(self._order):
            it = self._summaries[path]
            tables["statistics"][row] = it.mean, it.std, it.min, it.max, it.rms
            tables["first"][row, : it.first.size] = it.first
            tables["projection"][row] = it.projection
        return tables
