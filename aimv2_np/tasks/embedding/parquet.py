"""Features in Parquet files: a row per picture. Needs pyarrow, the extra `parquet`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.parallel import pieces
from aimv2_np.errors import CheckpointError, is_of_the_system, plain

KEY: Final = b"aimv2_np"
COLUMNS: Final = {"features": "features", "scale": "scales", "grid": "grid"}  # → the array that is in it
GROUP_BYTES: Final = 2**26  # of features in a row group
RAGGED: Final = 16  # pictures in a row group where each has its own number of vectors, up to thousands


def pyarrow() -> Any:
    """The library; ImportError that says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet files need pyarrow, which is not installed: pip install 'aimv2-np[parquet]'; or write .safetensors"
        ) from error
    return pyarrow


def write_parquet(
    file: BinaryIO,
    arrays: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    broken: Sequence[tuple[str, str]],
    metadata: Mapping[str, str],
) -> None:
    """Write a table, a row group at a time; see `write_features`."""
    pa = pyarrow()
    features, counts = arrays["features"], arrays.get("counts")
    facts = {KEY: json.dumps({**metadata, "broken_pictures": json.dumps(broken)}).encode()}
    given = {column: arrays[name] for column, name in COLUMNS.items() if name in arrays}
    fields = [pa.field("name", pa.string())]
    fields += [
        pa.field(column, _type(pa, array, counts is not None and column != "grid")) for column, array in given.items()
    ]
    schema = pa.schema(fields, metadata=facts)
    rows = RAGGED if counts is not None else max(1, GROUP_BYTES * len(features) // features.nbytes)
    ends = None if counts is None else np.concatenate([[0], np.cumsum(counts)])
    with pa.parquet.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer:
        for some in pieces(len(names), rows):
            columns = [pa.array([as_text(name) for name in names[some]], pa.string())]
            for column, array in given.items():
                bounds = None if ends is None or column == "grid" else ends[some.start : some.stop + 1]
                columns.append(_lists(pa, array[some]) if bounds is None else _ragged(pa, array, bounds))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _type(pa: Any, array: NDArray[Any], ragged: bool) -> Any:
    """Of a column: numbers in lists of fixed sizes, one for each axis but the first; `ragged`, in one of any size."""
    kind = pa.from_numpy_dtype(array.dtype)
    for size in reversed(array.shape[1:]):
        kind = pa.list_(kind, size)
    return pa.list_(kind) if ragged else kind


def _ragged(pa: Any, array: NDArray[Any], bounds: NDArray[np.int64]) -> Any:
    """Lists of the rows of `array` between one of the bounds and the next."""
    rows = _lists(pa, array[bounds[0] : bounds[-1]])
    return pa.ListArray.from_arrays(pa.array((bounds - bounds[0]).astype(np.int32)), rows)


def as_text(name: str) -> str:
    """A name as it is stored. Parquet's strings are UTF-8: bytes of a name that are not become \\udcff, visibly."""
    return name.encode("utf-8", "backslashreplace").decode()


def _lists(pa: Any, block: NDArray[Any]) -> Any:
    """An array (n, …, D) as n nested lists of fixed sizes."""
    result = pa.array(np.ascontiguousarray(block).reshape(-1))
    for size in reversed(block.shape[1:]):
        result = pa.FixedSizeListArray.from_arrays(result, size)
    return result


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """CheckpointError with the file's name for whatever is raised, which of damage is anything; not in a generator."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ImportError) or is_of_the_system(error):
            raise
        raise CheckpointError(
            f"{path} is no Parquet file of features, or damaged ({plain(error)}); write it again"
        ) from error


def read_facts(path: Path) -> tuple[list[str], dict[str, str], tuple[tuple[str, str], ...]]:
    """Names, metadata, and (name, reason) of the broken pictures; CheckpointError for what is no such table."""
    pa = pyarrow()
    with _reading(path):
        file = pa.parquet.ParquetFile(path, memory_map=True)
        facts = json.loads((file.schema_arrow.metadata or {}).get(KEY, b"{}"))
        broken = tuple((name, reason) for name, reason in json.loads(facts.pop("broken_pictures", "[]")))
        if not {"name", "features"} <= set(file.schema_arrow.names):
            return [], {}, ()
        names = file.read(columns=["name"]).column("name").to_pylist()
        if None in names:
            raise ValueError("a row has no name")
    return names, {str(key): str(value) for key, value in facts.items()}, broken


def read_blocks(path: Path, rows: int) -> Iterator[tuple[int, NDArray[Any], NDArray[np.float32] | None]]:
    """(number of the first row, features (b, D), their scales) of all rows; of a table with one vector per picture."""
    with _reading(path):
        file = pyarrow().parquet.ParquetFile(path, memory_map=True)
        columns = [name for name in ("features", "scale") if name in file.schema_arrow.names]
        batches = file.iter_batches(rows, columns=columns)
    start = 0
    while True:
        with _reading(path):
            batch = next(batches, None)
            if batch is None:
                return
            numbers = _array(batch.column("features"))
            scales = _array(batch.column("scale")) if len(columns) > 1 else None
            if len(numbers) != batch.num_rows and not pyarrow().types.is_list(batch.column("features").type):
                raise ValueError(f"{batch.num_rows} pictures have {len(numbers)} vectors")
        yield start, numbers, scales
        start += batch.num_rows


def read_features(path: Path) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """All features in memory: (N, D), (N, T, D), or (ΣT, D) where pictures have different numbers; and their scales."""
    with _reading(path):
        file = pyarrow().parquet.ParquetFile(path)
        scales = _joined(_column(path, "scale")) if "scale" in file.schema_arrow.names else None
        return _joined(_column(path, "features")), scales


def read_counts(path: Path) -> NDArray[np.int64] | None:
    """How many vectors each picture has, if each has a number of its own; else None."""
    with _reading(path):
        column = _column(path, "features")
        if not pyarrow().types.is_list(column.type):
            return None
        return np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in column.chunks]).astype(np.int64)


def read_grid(path: Path) -> NDArray[np.int32] | None:
    """(N, 2) rows and columns of patches; None where the table has none."""
    with _reading(path):
        there = "grid" in pyarrow().parquet.read_schema(path).names
        return _joined(_column(path, "grid")) if there else None


def _column(path: Path, name: str) -> Any:
    return pyarrow().parquet.read_table(path, columns=[name], memory_map=True).column(0)


def _joined(column: Any) -> NDArray[Any]:
    return np.concatenate([_array(chunk) for chunk in column.chunks])


def _array(lists: Any) -> NDArray[Any]:
    pa = pyarrow()
    shape: list[int] = []
    while pa.types.is_list(lists.type) or pa.types.is_fixed_size_list(lists.type):
        if pa.types.is_fixed_size_list(lists.type):
            shape.append(lists.type.list_size)
        lists = lists.flatten()
    array: NDArray[Any] = lists.to_numpy().reshape(-1, *shape)
    return array
