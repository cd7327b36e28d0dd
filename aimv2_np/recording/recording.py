"""A recording: what went into a model and what each of its modules computed, in one safetensors file.

    inputs/<name>            the model's arguments: pixel_values, input_ids, attention_mask
    activations/<path>       the output of the module at that dotted path, or the part of it that `slices` names
    statistics (M, 5), first (M, 16), projection (M, 64)
                             instead, or for all but a few, in a recording of statistics: mean, standard deviation,
                             minimum, maximum and root mean square; the first 16 numbers; the random projection. A row
                             per path, in order
    __metadata__             `format`, `source`, `order` (the M paths, as they ran), `shapes` and `dtypes` (of the whole
                             activations, in that order; a dtype alone is that of all), `slices`, `config`,
                             `config_hash`, `weights_hash`, `versions`, `dtype`, `backend`, `seed`, `options`;
                             only `format` and `order` have to be there, and `shapes` with statistics

Values that are not text are JSON. docs/golden.md describes the format for those who write such files themselves.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.backends.dtypes import NAMES
from aimv2_np.errors import CheckpointError
from aimv2_np.files.json import strict_json
from aimv2_np.recording.slices import parse_slice
from aimv2_np.recording.statistics import BUCKETS, FIRST, NDArray, Statistics, summarize
from aimv2_np.shapes import Array
from aimv2_np.storage import SafetensorsFile
from aimv2_np.storage.formats.header import MAX_DIMENSIONS

FORMAT = "aimv2_np.comparison/1"
SOURCES = ("aimv2_np", "torch", "onnxruntime", "arrays")
INPUTS, ACTIVATIONS = "inputs/", "activations/"
TABLES = {"statistics": 5, "first": FIRST, "projection": BUCKETS}  # name -> columns


class _Lazy(Mapping[str, Any]):
    """Names → values that are made when they are asked for."""

    def __init__(self, names: Sequence[str], make: Any) -> None:
        self._names, self._make = dict.fromkeys(names), make

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(eq=False)
class Recording:
    """A recording in memory, or in a mapped file whose arrays are read when they are asked for.

    Attributes:
        order: the dotted paths, in the order in which the modules ended.
        shapes, dtypes: path → shape and dtype of the whole activation as its model computed it ("bfloat16" too; such
            arrays are stored as float32).
        inputs: name → array.
        activations: path → array, for the paths that hold arrays; in a recording of statistics few or none.
        slices: path → the part of the activation that is recorded, such as ":, 0"; only for paths that hold a part.
        statistics: path → Statistics: stored ones, else computed from the array when it is whole.
        metadata: what else the file says, as text: config, config_hash, weights_hash, versions, dtype, backend, …
    """

    order: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    inputs: Mapping[str, NDArray] = field(default_factory=dict)
    activations: Mapping[str, NDArray] = field(default_factory=dict)
    slices: dict[str, str] = field(default_factory=dict)
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What computed it: "aimv2_np", "torch", "onnxruntime" or "arrays"."""
        return self.metadata.get("source", "arrays")

    @property
    def config(self) -> dict[str, Any] | None:
        """The model's config.json, where the recording has it."""
        return json.loads(self.metadata["config"]) if "config" in self.metadata else None

    @property
    def whole(self) -> bool:
        """Whether it holds an array, or a part of it, for every path, and not statistics alone."""
        return len(self.activations) == len(self.order)

    def __repr__(self) -> str:
        kind = "arrays" if self.whole else "statistics"
        return f"Recording({kind} of {len(self.order)} activations, from {self.source})"

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], inputs: Mapping[str, Array] | None = None, **metadata: str
    ) -> Self:
        """A recording of arrays that are there already, in the order of the mapping. Nothing is written."""
        values = {path: to_numpy(array) for path, array in arrays.items()}
        return cls(
            order=tuple(values),
            shapes={path: array.shape for path, array in values.items()},
            dtypes={path: str(array.dtype) for path, array in values.items()},
            inputs={name: to_numpy(array) for name, array in (inputs or {}).items()},
            activations=values,
            statistics=_Lazy(list(values), lambda path: summarize(path, values[path])),
            metadata={"format": FORMAT, "source": "arrays", **metadata},
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The recording in a file; arrays stay in the mapped file until they are used.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is damaged, no recording, or contradicts itself.
        """
        file, where = SafetensorsFile(path), str(Path(path))
        if file.metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{where} is no recording: its format is {file.metadata.get('format')!r:.80}, expected {FORMAT!r}. "
                "`aimv2-np record` makes recordings"
            )
        names = {name for name in file.entries if name not in TABLES}
        order = _json(file, "order", where)
        if not _strings(order) or len(set(order)) != len(order):
            raise CheckpointError(f"{where}: order in its metadata is {order!r:.80}; expected a list of distinct paths")
        stored = {name.removeprefix(ACTIVATIONS) for name in names if name.startswith(ACTIVATIONS)}
        brief = all(table in file.entries for table in TABLES)
        strange = [name for name in names if not name.startswith((INPUTS, ACTIVATIONS))]
        if strange or stored - set(order) or (not brief and stored != set(order)):
            raise CheckpointError(f"{where}: its tensors are not those that its metadata lists; record it again")
        return cls._from_file(file, tuple(order), brief, where)

    @classmethod
    def _from_file(cls, file: SafetensorsFile, order: tuple[str, ...], brief: bool, where: str) -> Self:
        slices = _slices(file, order, where)
        shapes = _shapes(file, order, brief, slices, where)
        dtypes = _dtypes(file, order, brief, where)
        inputs = [name.removeprefix(INPUTS) for name in file.entries if name.startswith(INPUTS)]
        kept = [path for path in order if ACTIVATIONS + path in file.entries]
        activations = _Lazy(kept, lambda path: _array(file, ACTIVATIONS + path))
        whole = [path for path in order if path not in slices]
        if brief:
            statistics = _tables(file, order, shapes, where)
        else:
            statistics = _Lazy(whole, lambda path: summarize(path, activations[path]))
        inputs_of_file = _Lazy(inputs, lambda name: _array(file, INPUTS + name))
        _config(file, where)
        return cls(order, shapes, dtypes, inputs_of_file, activations, slices, statistics, dict(file.metadata))


def _json(file: SafetensorsFile, key: str, where: str, default: Any = None) -> Any:
    if key not in file.metadata:
        return default
    try:
        return strict_json(file.metadata[key])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: {key} in its metadata is not valid JSON ({error}); record it again") from None


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _config(file: SafetensorsFile, where: str) -> None:
    if not isinstance(_json(file, "config", where, {}), dict):
        raise CheckpointError(f"{where}: config in its metadata is no object; record it again")


def _slices(file: SafetensorsFile, order: tuple[str, ...], where: str) -> dict[str, str]:
    slices = _json(file, "slices", where, {})
    if not isinstance(slices, dict) or not _strings(list(slices.values())) or not slices.keys() <= set(order):
        raise CheckpointError(f"{where}: slices in its metadata are {slices!r:.80}; expected path → slice")
    for text in slices.values():
        try:
            parse_slice(text)
        except ValueError as error:
            raise CheckpointError(f"{where}: {error}") from None
    return slices


def _shapes(
    file: SafetensorsFile, order: tuple[str, ...], brief: bool, slices: dict[str, str], where: str
) -> dict[str, tuple[int, ...]]:
    found = {path: file.entries[ACTIVATIONS + path].shape for path in order if ACTIVATIONS + path in file.entries}
    shapes = _json(file, "shapes", where, None if brief else [list(found[path]) for path in order])
    ok = isinstance(shapes, list) and len(shapes) == len(order) and all(_sizes(shape) for shape in shapes)
    result = {path: tuple(shape) for path, shape in zip(order, shapes, strict=True)} if ok else {}
    if not ok or any(result[path] != found[path] for path in found if path not in slices):
        raise CheckpointError(f"{where}: shapes in its metadata do not fit its {len(order)} activations")
    return result


def _sizes(shape: object) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 2**63 for size in shape)
    )


def _dtypes(file: SafetensorsFile, order: tuple[str, ...], brief: bool, where: str) -> dict[str, str]:
    found = [] if brief else [_dtype(file, ACTIVATIONS + path, where) for path in order]
    dtypes = _json(file, "dtypes", where, found or ["float32"] * len(order))
    dtypes = [dtypes] * len(order) if isinstance(dtypes, str) else dtypes
    if not _strings(dtypes) or len(dtypes) != len(order):
        raise CheckpointError(f"{where}: dtypes in its metadata are {dtypes!r:.80}; expected one for each activation")
    return dict(zip(order, dtypes, strict=True))


def _dtype(file: SafetensorsFile, name: str, where: str) -> str:
    stored = file.entries[name].dtype
    if stored not in NAMES:
        raise CheckpointError(f"{where}: {name!r:.200} is stored as {stored}; expected one of {', '.join(NAMES)}")
    return NAMES[stored]


def _array(file: SafetensorsFile, name: str) -> NDArray:
    return file.read(name) if file.entries[name].dtype == "BF16" else file.plain(name)


def _tables(
    file: SafetensorsFile, order: tuple[str, ...], shapes: dict[str, tuple[int, ...]], where: str
) -> Mapping[str, Statistics]:
    tables: dict[str, NDArray] = {name: file.plain(name) for name in TABLES}
    for name, columns in TABLES.items():
        if tables[name].shape != (len(order), columns) or tables[name].dtype.kind != "f":
            raise CheckpointError(
                f"{where}: {name} has the shape {tables[name].shape}; expected floats ({len(order)}, {columns})"
            )
    rows = {path: row for row, path in enumerate(order)}

    def make(path: str) -> Statistics:
        row, shape = rows[path], shapes[path]
        mean, std, low, high, rms = (float(number) for number in tables["statistics"][row])
        count = min(FIRST, int(np.prod(shape, dtype=object)))
        return Statistics(shape, mean, std, low, high, rms, tables["first"][row, :count], tables["projection"][row])

    return _Lazy(order, make)
