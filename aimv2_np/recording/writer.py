"""Writing a recording while the model runs: each array goes to disk as it comes, so memory stays bounded.

A safetensors file begins with a header that tells the place of every tensor, which is known only at the end. So the
arrays wait in a temporary file beside the recording, from which they are copied one by one when all have come.
"""

import json
import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self, TypedDict

import numpy as np

from aimv2_np.files.atomic import naming_path, refuse_existing, require_folder
from aimv2_np.recording.recording import ACTIVATIONS, FORMAT, INPUTS, as_numpy
from aimv2_np.recording.slices import parse_slice
from aimv2_np.recording.statistics import FIRST, Statistics, summarize
from aimv2_np.shapes import NDArray
from aimv2_np.storage import save_safetensors
from aimv2_np.storage.formats.lazy import Lazy
from aimv2_np.storage.formats.safetensors_writer import lazy, write_array

SMALL_INPUT = 2**14  # bytes: a recording of statistics holds inputs up to this size only


class WriterOptions(TypedDict, total=False):
    """The options of `RecordingWriter` that every adapter hands on."""

    statistics: bool
    whole: Iterable[str]
    slices: Mapping[str, str] | None
    overwrite: bool
    metadata: Mapping[str, str] | None


def check_place(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """FileExistsError when `path` is there and may not be overwritten; FileNotFoundError when its folder is not."""
    refuse_existing(Path(path), overwrite)
    require_folder(Path(path))


class RecordingWriter:
    """A recording that is being written; use as a context manager: `path` appears when the block ends well.

    Args:
        path: the file to write.
        source: what computes the activations: "aimv2_np", "torch", "onnxruntime" or "arrays".
        include: a glob or several; activations of other paths are passed over.
        statistics: keep statistics of each activation instead of the activation.
        whole: globs; with `statistics`, what matches is kept whole as well (an input is matched as "inputs/<name>").
        slices: glob → part of the activations to keep ("0, :16"); the first glob that matches a path counts.
        overwrite: replace a file that is there.
        metadata: what else is known: config, config_hash, weights_hash, versions, dtype, backend, seed.

    Raises:
        FileExistsError: `path` is there and `overwrite` is False.
        FileNotFoundError: there is no such folder.
        ValueError: a slice that is none, or slices together with statistics, which are of whole arrays; at the end of
            the block, when no activation has come whose path `include` matches.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source: str = "arrays",
        include: str | Iterable[str] = "*",
        statistics: bool = False,
        whole: Iterable[str] = (),
        slices: Mapping[str, str] | None = None,
        overwrite: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self._overwrite, self._statistics = Path(path), overwrite, statistics
        self._include = (include,) if isinstance(include, str) else tuple(include)
        self._whole = tuple(whole)
        self._slices = {glob: (text, parse_slice(text)) for glob, text in (slices or {}).items()}
        if statistics and self._slices:
            raise ValueError("slices is given with statistics; expected one of them, as statistics are of whole arrays")
        check_place(self.path, overwrite)
        self.metadata = {"format": FORMAT, "source": source, **(metadata or {})}
        self._order: dict[str, tuple[tuple[int, ...], str]] = {}  # path -> shape and dtype of the whole activation
        self._sliced: dict[str, str] = {}
        self._summaries: dict[str, Statistics] = {}
        self._tensors: dict[str, Lazy] = {}  # what will be in the file -> how it is read from the temporary one

    def __enter__(self) -> Self:
        self._data = TemporaryFile(dir=self.path.parent)  # closed in __exit__
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with naming_path(self.path), self._data:
            if kind is None:
                self._finish()

    @property
    def order(self) -> tuple[str, ...]:
        """The paths that have been recorded so far."""
        return tuple(self._order)

    def wants(self, path: str) -> bool:
        """Whether `include` matches the path of an activation."""
        return _matches(path, self._include)

    def add_input(self, name: str, array: Any) -> None:
        """Record an argument of the model; in a recording of statistics only if it is small (16 KiB)."""
        values, _ = as_numpy(array)
        if not self._statistics or values.nbytes <= SMALL_INPUT or _matches(INPUTS + name, self._whole):
            self._append(INPUTS + name, values)

    def add(self, path: str, array: Any, dtype: str | None = None) -> None:
        """Record what the module at `path` computed, if `include` matches it; nothing of it is kept in memory.

        `array` is what `as_numpy` takes. `dtype` is the one it was computed in, where the array does not show it
        ("bfloat16" held as float32). A path that comes again replaces what was recorded before, and moves to the end of
        the order. ValueError for what the format cannot hold.
        """
        if not self.wants(path):
            return
        values, computed = as_numpy(array)
        self._order.pop(path, None)
        self._order[path] = (values.shape, dtype or computed)
        if self._statistics:
            self._summaries[path] = summarize(path, values)
        if not self._statistics or _matches(path, self._whole):
            self._append(ACTIVATIONS + path, self._part(path, values))

    def _part(self, path: str, values: NDArray) -> NDArray:
        for glob, (text, index) in self._slices.items():
            if fnmatchcase(path, glob):
                self._sliced[path] = text
                try:
                    return np.asarray(values[index])
                except IndexError as error:
                    raise ValueError(
                        f"the slice of {path} is {text!r}; expected one that fits its shape {values.shape} ({error})"
                    ) from None
        return values

    def _append(self, name: str, values: NDArray) -> None:
        tensor = lazy(name, values)
        offset = self._data.seek(0, os.SEEK_END)
        with naming_path(self.path):
            write_array(self._data, tensor)
        dtype, shape, size = values.dtype.newbyteorder("<"), values.shape, values.nbytes

        def read() -> NDArray:
            self._data.seek(offset)
            return np.frombuffer(self._data.read(size), dtype).reshape(shape)

        self._tensors[name] = Lazy(tensor.stored_as, shape, read)

    def _finish(self) -> None:
        if not self._order:
            raise ValueError(f"include is {', '.join(self._include)!r:.200}; expected globs that match an activation")
        if self._statistics:
            for name, table in self._tables().items():
                self._append(name, table)
        save_safetensors(self.path, self._tensors, self._all_metadata(), self._overwrite)

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
        summaries = [self._summaries[path] for path in self._order]
        first = np.zeros((len(summaries), FIRST), np.float32)
        for row, summary in zip(first, summaries, strict=True):
            row[: summary.first.size] = summary.first
        return {
            "statistics": np.array([[s.mean, s.std, s.min, s.max, s.rms] for s in summaries]),
            "first": first,
            "projection": np.stack([summary.projection for summary in summaries]),
        }


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
