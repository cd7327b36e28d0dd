"""From shards to the one file that was asked for, in pieces: memory stays small however large the file is."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.files.atomic import naming
from aimv2_np.tasks.embedding import npz, parquet
from aimv2_np.tasks.embedding.columns import Column, write_safetensors
from aimv2_np.tasks.embedding.feature_file import encode_name
from aimv2_np.tasks.embedding.shards import ASSEMBLED, Shard, ShardStore, arrays_of

PIECE: Final = 2**14  # names in a piece


def check_output(path: Path) -> None:
    """Raise what stands against writing features to `path`: ValueError for its suffix, ImportError for a library."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(FORMATS)}")
    if path.suffix.lower() == ".parquet":
        parquet.pyarrow()


def assemble(store: ShardStore, names: Sequence[str], output: Path, metadata: Mapping[str, str]) -> None:
    """Put the shards of a complete run together beside them; `store.finish` then makes it the output."""
    broken = store.broken
    sound = [name for number, name in enumerate(names) if number not in broken]
    report = [(names[number], reason) for number, reason in broken.items()]
    columns = [*_shard_columns(store.shards), *_text_columns(sound, report)]
    with naming(output), (store.folder / ASSEMBLED).open("wb") as file:
        FORMATS[output.suffix.lower()](file, columns, sound, metadata)
        file.flush()
        os.fsync(file.fileno())


def _shard_columns(shards: Sequence[Shard]) -> Iterator[Column]:
    """The arrays that the shards hold, each joined along its first axis."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    dtypes: dict[str, np.dtype[Any]] = {}
    for shard in shards:  # one at a time: there may be more shards than a process may have files open
        if (file := shard.open()) is not None:
            for name, entry in file.entries.items():
                shapes.setdefault(name, []).append(entry.shape)
                dtypes[name] = file.plain(name).dtype
    for name, found in shapes.items():
        shape = (sum(one[0] for one in found), *found[0][1:])
        yield Column(name, dtypes[name], shape, partial(arrays_of, shards, name))


def _text_columns(names: Sequence[str], broken: Sequence[tuple[str, str]]) -> Iterator[Column]:
    ends = np.cumsum([len(encode_name(name)) for name in names], dtype=np.int64)
    report = np.frombuffer(json.dumps(broken).encode(), np.uint8)

    def text() -> Iterator[NDArray[np.uint8]]:
        encoded = map(encode_name, names)
        while piece := b"".join(islice(encoded, PIECE)):
            yield np.frombuffer(piece, np.uint8)

    yield Column("name_ends", ends.dtype, ends.shape, lambda: iter([ends]))
    yield Column("names", report.dtype, (int(ends[-1]),), text)
    yield Column("broken", report.dtype, report.shape, lambda: iter([report]))


Write = Callable[[BinaryIO, Sequence[Column], Sequence[str], Mapping[str, str]], None]
FORMATS: dict[str, Write] = {
    ".safetensors": lambda file, columns, names, metadata: write_safetensors(file, columns, metadata),
    ".npz": lambda file, columns, names, metadata: npz.write(file, columns, metadata),
    ".parquet": parquet.write,
}
