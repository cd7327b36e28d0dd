"""A file of features, as `embed` writes it and `search` reads it.

In safetensors, and under the same names in .npz:

    features     (N, D) float32, float16 or int8; of "tokens" (N, T, D), or, where pictures have different numbers of
                 them, (ΣT, D)
    scales       (N,) float32, or of "tokens" (N, T) or (ΣT,), only of int8: what each vector's whole numbers are times
    counts       (N,) int64, only in that last case: how many rows of `features` belong to each picture
    grid         (N, 2) int32, only of "tokens": rows and columns of patches
    names        uint8: the names of the pictures in UTF-8, one after the other
    name_ends    (N,) int64: where each of them ends
    broken       uint8: JSON, a list of [name, reason] of the pictures that have no features
    states, checksums, broken_at  what `ledger` records of the pictures, so that others can be added

The metadata are strings: `__metadata__` in safetensors, JSON in `metadata` in .npz. Rows are in the order in which the
pictures were given. Parquet has a row per picture: name, features, of int8 scale, and of "tokens" grid; its metadata
are JSON under the key "aimv2_np".
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from errno import EACCES
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, overload

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.dtypes import CODES
from aimv2_np.errors import CheckpointError, is_of_the_system, plain
from aimv2_np.storage import SafetensorsFile
from aimv2_np.storage.formats.header import write_header
from aimv2_np.storage.formats.safetensors_writer import lazy, write_array
from aimv2_np.tasks.embedding import npz, parquet
from aimv2_np.tasks.embedding.stored import FULL, STORES, Stored, as_floats

FORMAT: Final = "aimv2_np.features/1"
FORMATS: Final = (".safetensors", ".npz", ".parquet")
ARRAYS: Final = {
    "features": "f", "scales": "f", "counts": "i", "grid": "i", "names": "u", "name_ends": "i", "broken": "u",
}  # fmt: skip
RECORD: Final = {"states": "u", "checksums": "u", "broken_at": "i"}  # see `ledger`
ITERATED: Final = 4096  # names that are read at a time


class Names(Sequence[str]):
    """The names of the pictures, each decoded when it is asked for."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._text, self._ends = text, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        start = int(self._ends[row - 1]) if row else 0
        return self._text[start : int(self._ends[row])].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        """All of them, several times as fast as one by one."""
        for first in range(0, len(self), ITERATED):
            ends = self._ends[first : first + ITERATED].tolist()
            start = begin = int(self._ends[first - 1]) if first else 0
            text = self._text[begin : ends[-1]].tobytes()
            for end in ends:
                yield text[start - begin : end - begin].decode("utf-8", "surrogateescape")
                start = end


def encode_name(name: str) -> bytes:
    """A name as it is stored; bytes in file names that are no UTF-8 stay what they are."""
    return name.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """Features of pictures in a file that is mapped into memory.

    Attributes:
        path: the file.
        metadata: kind ("features"), "normalized", "model", "weights_hash", "count", …, all strings.
        names: the N names of the pictures.
        arrays: the arrays of the file by name, mapped; of Parquet none, whose rows `blocks` reads.
        broken: (name, reason) of the pictures that have no features.
    """

    path: Path
    metadata: Mapping[str, str]
    names: Sequence[str]
    arrays: Mapping[str, NDArray[Any]]
    broken: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def kind(self) -> str:
        """Which features: "projected", "pooled", "cls", "mean" or "tokens"."""
        return self.metadata.get("features", "")

    def check_one_per_picture(self) -> None:
        """ValueError for features of patches, where pictures as wholes are compared."""
        if self.kind == "tokens":
            raise ValueError(f"{self.path} holds vectors of patches; expected one per picture: embed with another kind")

    @cached_property
    def features(self) -> NDArray[np.float32] | Stored:
        """(N, D), or of "tokens" (N, T, D) or (ΣT, D): a view of the mapped file; of Parquet a copy in memory.

        Vectors in fewer bytes stay so, and become float32 when rows are asked for; see `Stored`.
        """
        if self.arrays:
            numbers, scales = self.arrays["features"], self.arrays.get("scales")
        else:
            numbers, scales = parquet.read_features(self.path)
        return as_floats(numbers, scales)

    @property
    def stored(self) -> str:
        """What a vector is in the file: one of `STORES`."""
        said = self.metadata.get("stored", FULL)
        return said if said in STORES else FULL

    def tokens(self, row: int) -> NDArray[np.float32]:
        """The (T, D) patch features of one picture, also where pictures have different numbers of them."""
        row, bounds = range(len(self))[row], self._bounds
        one: NDArray[np.float32] = self.features[row if bounds is None else slice(*bounds[row : row + 2])]
        return one

    @cached_property
    def _bounds(self) -> NDArray[np.int64] | None:
        """(N + 1,) where the vectors of each picture begin, and those of the last end; None where all have as many."""
        return None if self.counts is None else np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def counts(self) -> NDArray[np.int64] | None:
        """(N,) how many vectors each picture has; None where all have as many."""
        return self.arrays.get("counts") if self.arrays else parquet.read_counts(self.path)

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(number of the first row, features (b, D)) of all rows, up to `rows` at a time, in float32."""
        if not self.arrays:
            for start, numbers, scales in parquet.read_blocks(self.path, rows):
                yield start, as_floats(numbers, scales)[:]
            return
        for start in range(0, len(self), rows):
            yield start, self.features[start : start + rows]

    def directions(self, rows: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """The same as the file has them, without their scales: enough for cosines, and nothing is converted."""
        if not self.arrays:
            yield from ((start, numbers) for start, numbers, _ in parquet.read_blocks(self.path, rows))
            return
        for start in range(0, len(self), rows):
            yield start, self.arrays["features"][start : start + rows]

    def all_directions(self) -> NDArray[Any]:
        """(N, D) as the file has them, without their scales: mapped; of Parquet, a copy in memory."""
        return self.arrays["features"] if self.arrays else parquet.read_features(self.path)[0]


def check_output(path: Path) -> None:
    """Raise what stands against writing features to `path`: ValueError for its suffix, ImportError for a library."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(FORMATS)}")
    if path.suffix.lower() == ".parquet":
        parquet.pyarrow()


def write_features(
    file: BinaryIO,
    suffix: str,
    arrays: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    broken: Sequence[tuple[str, str]],
    metadata: Mapping[str, str],
) -> None:
    """Write a file of features; mapped arrays are copied from where they lie, however large they are.

    Args:
        file: open for writing.
        suffix: one of `FORMATS`, which says in which of them.
        arrays: "features", and "scales", "counts" and "grid" where there are; what `ledger` records besides.
        names: of the pictures, one for each row.
        broken: (name, reason) of those that have none.
        metadata: see `FeatureFile`; "format" is `FORMAT`.
    """
    if suffix == ".parquet":
        parquet.write_parquet(file, arrays, names, broken, metadata)
        return
    encoded = [encode_name(name) for name in names]
    ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
    text, report = (np.frombuffer(data, np.uint8) for data in (b"".join(encoded), json.dumps(broken).encode()))
    arrays = {**arrays, "name_ends": ends, "names": text, "broken": report}
    if suffix == ".npz":
        npz.write_npz(file, arrays, metadata)
        return
    tensors = {name: (CODES[array.dtype.name], array.shape) for name, array in arrays.items()}
    for name in write_header(file, tensors, metadata):
        write_array(file, lazy(name, arrays[name]))


def open_features(path: str | os.PathLike[str]) -> FeatureFile:
    """The features in a file that `embed` has written.

    Raises:
        FileNotFoundError, PermissionError: there is no such file, or it must not be read.
        CheckpointError: it is damaged, or no file of features.
        ImportError: it is Parquet, and pyarrow is not installed.
    """
    path = Path(path)
    if not path.is_file():
        begun = path.with_name(path.name + ".parts").is_dir()
        hint = f"; {path.name}.parts holds a run that is not complete" if begun else ""
        raise FileNotFoundError(f"there is no file {path}{hint}")
    if not os.access(path, os.R_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))
    if path.suffix.lower() == ".parquet":
        rows, metadata, broken = parquet.read_facts(path)
        _check_format(path, metadata)
        metadata = {name: text for name, text in metadata.items() if name not in RECORD}
        return FeatureFile(path, metadata, rows, {}, broken)
    metadata, arrays = _arrays(path)
    _check_format(path, metadata)
    _check_arrays(path, arrays)
    names = Names(arrays["names"], arrays["name_ends"])
    return FeatureFile(path, metadata, names, arrays, _broken(path, arrays["broken"].tobytes()))


def _arrays(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    if path.suffix.lower() == ".npz":
        try:
            metadata, found = npz.read(path)
        except Exception as error:  # of damage zipfile and NumPy raise whatever comes
            if is_of_the_system(error):
                raise
            raise CheckpointError(
                f"{path} is no file of features, or damaged ({plain(error)}); write it again"
            ) from error
        return metadata, {name: array for name, array in found.items() if name in ARRAYS | RECORD}
    file = SafetensorsFile(path)
    return dict(file.metadata), {name: file.plain(name) for name in file.entries if name in ARRAYS | RECORD}


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no file of features: its format is {metadata.get('format')!r:.80}, expected {FORMAT!r}. "
            "`aimv2-np embed` writes such files"
        )


def _check_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    wrong = [name for name in ("features", "names", "name_ends", "broken") if name not in arrays]
    whole = "features" in arrays and arrays["features"].dtype == np.int8  # numbers, which need scales
    kinds = ARRAYS | RECORD | ({"features": "i"} if whole else {})
    wrong += [name for name, array in arrays.items() if array.dtype.kind != kinds[name]]
    wrong += ["scales"] if whole and "scales" not in arrays else []
    wrong += [name for name in ("names", "name_ends", "broken", "counts") if name in arrays and arrays[name].ndim != 1]
    if wrong:
        raise CheckpointError(f"{path}: {', '.join(wrong)} are missing, or of a wrong dtype or shape; write it again")
    features, ends = arrays["features"], arrays["name_ends"]
    rows = len(ends)
    total = len(arrays["counts"]) if "counts" in arrays else len(features) if features.ndim > 1 else -1
    falls = (ends < np.concatenate([[0], ends[:-1]])).any()
    if rows != total or falls or (rows and ends[-1] != arrays["names"].size):
        raise CheckpointError(f"{path}: it has {total} rows of features and names for {rows}; write it again")
    if whole and (arrays["scales"].shape != features.shape[:-1] or not _positive(arrays["scales"])):
        raise CheckpointError(f"{path}: its scales are not one above zero for each vector; write it again")
    if "counts" in arrays and (arrays["counts"].min(initial=0) < 0 or arrays["counts"].sum() != len(features)):
        raise CheckpointError(f"{path}: its counts do not add up to its {len(features)} vectors; write it again")


def _positive(scales: NDArray[Any]) -> bool:
    return bool((scales > 0).all() and np.isfinite(scales).all())


def _broken(path: Path, data: bytes) -> tuple[tuple[str, str], ...]:
    try:
        return tuple((str(name), str(reason)) for name, reason in json.loads(data))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its list of broken pictures cannot be read ({error}); write it again") from None
