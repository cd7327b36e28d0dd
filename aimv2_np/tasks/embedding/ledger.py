"""What a file of features records of the pictures that it was made of, so that later ones can be added to it.

    states       (M, 8) uint8: a digest of the state that each picture was in; of all M that were given, in their order,
                 those that are broken and have no row among them
    checksums    (M, 16) uint8: a digest of its contents; zeros, or no array at all, where nobody has asked for one
    broken_at    (M - N,) int64: where in that order the broken ones are

In .safetensors and .npz these are arrays; in Parquet, base64 in the metadata. A state is what `Pictures.states` says.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.errors import CheckpointError, is_of_the_system
from aimv2_np.tasks.embedding import parquet
from aimv2_np.tasks.embedding.feature_file import FeatureFile, open_features

DTYPES: Final = {"states": "u1", "checksums": "u1", "broken_at": "<i8"}
WIDTHS: Final = {"states": 8, "checksums": 16}  # bytes of a digest


@dataclass(frozen=True, eq=False)
class Ledger:
    """The pictures of a file, in the order in which they were given.

    Attributes:
        file: of features.
        names: of all M pictures.
        rows: (M,) the row of each in the file, -1 of a broken one.
        reasons: number of a broken one → what is wrong with it.
        states, checksums: see above; checksums are zeros where there are none.
    """

    file: FeatureFile
    names: tuple[str, ...]
    rows: NDArray[np.int64]
    reasons: Mapping[int, str]
    states: NDArray[np.uint8]
    checksums: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def grid(self) -> NDArray[np.int32] | None:
        """(N, 2) rows and columns of patches of each row of "tokens"; None of other features."""
        return self.file.arrays.get("grid") if self.file.arrays else parquet.read_grid(self.file.path)

    def arrays(self, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The arrays of these pictures that are not broken, joined along the first axis, as `Parts.add` takes them."""
        rows = self.rows[numbers]
        rows = rows[rows >= 0]
        if not len(rows):
            return {}
        of_patches = {} if self.grid is None else {"grid": self.grid[rows]}
        if (counts := self.file.counts) is None:
            return {"features": self.file.features[rows], **of_patches}
        vectors = np.concatenate([self.file.tokens(int(row)) for row in rows])
        return {"features": vectors, "counts": counts[rows], **of_patches}


def mark_of(output: Path) -> tuple[int, int, int] | None:
    """What another file in the place of `output` would have differently; None where there is none."""
    try:
        status = output.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def complete_file(output: Path) -> FeatureFile | None:
    """The file of features that is there already; None where there is no such file."""
    try:
        return open_features(output)
    except (OSError, ValueError, ImportError) as error:
        if is_of_the_system(error):
            raise
        return None


def run_of(file: FeatureFile) -> dict[str, Any]:
    """The settings and the pictures of the run that has written a file; empty where it does not say so."""
    try:
        run = json.loads(file.metadata.get("run", "{}"))
    except ValueError:
        return {}
    return run if isinstance(run, dict) else {}


def digests(texts: Sequence[str], what: str) -> NDArray[np.uint8]:
    """(M, width) uint8: a digest of each text, of the width of "states" or "checksums"; zeros of an empty one."""
    width = WIDTHS[what]
    each = (blake2b(text.encode(), digest_size=width).digest() if text else bytes(width) for text in texts)
    return np.frombuffer(b"".join(each), np.uint8).reshape(len(texts), width)


def record(
    suffix: str, states: NDArray[np.uint8], checksums: NDArray[np.uint8], broken: Sequence[int]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """What goes into a file with that suffix: arrays and metadata, of which one is empty."""
    arrays: dict[str, NDArray[Any]] = {"states": states, "broken_at": np.array(sorted(broken), np.int64)}
    if checksums.any():
        arrays["checksums"] = checksums
    if suffix != ".parquet":
        return arrays, {}
    return {}, {name: b64encode(array.astype(DTYPES[name]).tobytes()).decode() for name, array in arrays.items()}


def read_ledger(file: FeatureFile) -> Ledger | None:
    """What `record` has written; None in a file of a version that did not record anything.

    Raises CheckpointError for a record that does not fit the file.
    """
    try:
        text = {} if file.arrays else parquet.read_facts(file.path)[1]
        found = {name: file.arrays[name] for name in DTYPES if name in file.arrays} or _of_text(text)
        if not found:
            return None
        count, at = len(file) + len(file.broken), found["broken_at"].astype(np.int64)
        shapes = {name: (count, width) for name, width in WIDTHS.items()} | {"broken_at": (len(file.broken),)}
        wrong = [name for name, array in found.items() if array.shape != shapes[name]]
        if wrong or (np.diff(at, prepend=-1) <= 0).any() or (at >= count).any():
            raise ValueError(f"{', '.join(wrong) or 'broken_at'} fit no file of {count} pictures")
        states = found["states"]
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{file.path}: what it records of its pictures is damaged ({error}); write it again"
        ) from error
    sound = np.ones(count, bool)
    sound[at] = False
    rows = np.where(sound, np.cumsum(sound) - 1, -1)
    names = np.empty(count, object)
    names[sound], names[at] = list(file.names), [name for name, _ in file.broken]
    reasons = {int(number): reason for number, (_, reason) in zip(at, file.broken, strict=True)}
    checksums = found.get("checksums", np.zeros((count, WIDTHS["checksums"]), np.uint8))
    return Ledger(file, tuple(names), rows, reasons, states, checksums)


def _of_text(metadata: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    decoded = {name: b64decode(metadata[name], validate=True) for name in DTYPES if name in metadata}
    arrays = {name: np.frombuffer(data, DTYPES[name]) for name, data in decoded.items()}
    return {name: array.reshape(-1, WIDTHS[name]) if name in WIDTHS else array for name, array in arrays.items()}
