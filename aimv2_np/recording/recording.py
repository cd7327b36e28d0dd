"""A recording: what went into a model and what each of its modules computed, in one safetensors file.

    inputs/<name>            the model's arguments: pixel_values, input_ids, attention_mask
    activations/<path>       the output of the module at that dotted path, or the part of it that `slices` names
    activations/gradient:<path>  ∂loss/∂ that output, or by the weight at that path
    statistics (M, 5), first (M, 16), projection (M, 64)
                             instead, or for all but a few, in a recording of statistics: mean, standard deviation,
                             minimum, maximum and root mean square; the first 16 numbers; the random projection. A row
                             per path, in order
    __metadata__             `format`, `source`, `order` (the M paths, as they ran), `shapes` and `dtypes` (of the whole
                             activations, in that order; a dtype alone is that of all), `slices`, `config`,
                             `config_hash`, `weights_hash`, `versions`, `dtype`, `backend`, `seed`, `options`, `loss`;
                             only `format` and `order` have to be there, and `shapes` with statistics

Values that are not text are JSON. docs/golden.md describes the format for those who write such files themselves.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Self, TypeVar

import numpy as np

from aimv2_np.backends.arrays import is_array, to_numpy
from aimv2_np.backends.dtypes import NAMES
from aimv2_np.errors import CheckpointError
from aimv2_np.files.json import strict_json
from aimv2_np.recording.slices import parse_slice
from aimv2_np.recording.statistics import BUCKETS, FIRST, Statistics, summarize
from aimv2_np.shapes import Array, NDArray
from aimv2_np.storage import SafetensorsFile
from aimv2_np.storage.formats.header import MAX_DIMENSIONS
from aimv2_np.tree.trace import GRADIENT

FORMAT = "aimv2_np.golden/1"
INPUTS, ACTIVATIONS = "inputs/", "activations/"
LOSS = "loss"  # in the metadata: what gradients are of
TABLES = {"statistics": 5, "first": FIRST, "projection": BUCKETS}  # name -> columns
Value = TypeVar("Value")


class OnDemand(Mapping[str, Value]):
    """Names → values that are made when they are asked for."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Value]) -> None:
        self._names, self._make = dict.fromkeys(names), make

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def as_numpy(value: Any) -> tuple[NDArray, str]:
    """An array of NumPy or CuPy, a PyTorch tensor or nested lists of numbers in host memory, and its dtype's name.

    bfloat16, which NumPy lacks, becomes float32, exactly; the name says "bfloat16".
    """
    if hasattr(value, "detach"):  # a PyTorch tensor
        value = value.detach().cpu()
        dtype = str(value.dtype).removeprefix("torch.")
        return np.asarray(value.float() if dtype == "bfloat16" else value), dtype
    array = value if is_array(value) else np.asarray(value)
    return to_numpy(array), array.dtype.name


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

    def array(self, path: str) -> NDArray | None:
        """The array of the activation at `path`; None where it is not recorded, or only a part of it is."""
        return None if path in self.slices else self.activations.get(path)

    @property
    def forward(self) -> "Recording":
        """The activations alone, without gradients."""
        return self._picked({path: path for path in self.order if not path.startswith(GRADIENT)})

    @property
    def backward(self) -> "Recording":
        """The gradients alone, under the paths of what they are by."""
        return self._picked({path.removeprefix(GRADIENT): path for path in self.order if path.startswith(GRADIENT)})

    def _picked(self, paths: Mapping[str, str]) -> "Recording":
        """A recording of some paths, each under a new name: new → old."""

        def of(values: Mapping[str, Value]) -> OnDemand[Value]:
            return OnDemand((path for path, old in paths.items() if old in values), lambda path: values[paths[path]])

        return Recording(
            tuple(paths), dict(of(self.shapes)), dict(of(self.dtypes)), self.inputs, of(self.activations),
            dict(of(self.slices)), of(self.statistics), self.metadata,
        )  # fmt: skip

    def __repr__(self) -> str:
        kind, gradients = "arrays" if self.whole else "statistics", len(self.backward.order)
        several = f"{len(self.order) - gradients} activations" + (f" and {gradients} gradients" if gradients else "")
        return f"Recording({kind} of {several}, from {self.source})"

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], inputs: Mapping[str, Array] | None = None, **metadata: str
    ) -> Self:
        """A recording of arrays that are there already, in the order of the mapping. Nothing is written."""
        values, dtypes = dict[str, NDArray](), dict[str, str]()
        for path, array in arrays.items():
            values[path], dtypes[path] = as_numpy(array)
        return cls(
            order=tuple(values),
            shapes={path: array.shape for path, array in values.items()},
            dtypes=dtypes,
            inputs={name: as_numpy(array)[0] for name, array in (inputs or {}).items()},
            activations=values,
            statistics=OnDemand(values, lambda path: summarize(path, values[path])),
            metadata={"format": FORMAT, "source": "arrays", **metadata},
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The recording in a file; arrays stay in the mapped file until they are used.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is damaged, no recording, or contradicts itself.
        """
        file = SafetensorsFile(path)
        if file.metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{file.path} is no recording: its format is {file.metadata.get('format')!r:.80}; expected {FORMAT!r}. "
                "`aimv2-np record` makes recordings"
            )
        try:
            return cls._read(file)
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(f"{file.path}: {error}; record it again") from None

    @classmethod
    def _read(cls, file: SafetensorsFile) -> Self:
        """The recording in a file of the right format; ValueError for metadata that contradict its tensors."""
        order = _metadata(
            file, "order", None, lambda v: _are_strings(v) and len(set(v)) == len(v), "a list of distinct paths"
        )
        brief = all(table in file.entries for table in TABLES)
        stored = {name for name in file.entries if name not in TABLES and not name.startswith(INPUTS)}
        listed = {ACTIVATIONS + path for path in order}
        if not stored <= listed or (not brief and stored != listed):
            raise ValueError("its tensors are not those that its metadata lists")
        _metadata(file, "config", {}, lambda v: isinstance(v, dict), "the model's config.json")
        slices = _slices(file, order)
        shapes = _shapes(file, order, slices, brief)
        dtypes = _dtypes(file, order, brief)
        inputs = (name.removeprefix(INPUTS) for name in file.entries if name.startswith(INPUTS))
        activations = OnDemand(
            [path for path in order if ACTIVATIONS + path in stored], lambda path: _array(file, ACTIVATIONS + path)
        )
        whole = [path for path in order if path not in slices]
        return cls(
            tuple(order),
            shapes,
            dtypes,
            OnDemand(inputs, lambda name: _array(file, INPUTS + name)),
            activations,
            slices,
            _tables(file, shapes) if brief else OnDemand(whole, lambda path: summarize(path, activations[path])),
            dict(file.metadata),
        )


def _metadata(file: SafetensorsFile, key: str, default: Any, fits: Callable[[Any], bool], expected: str) -> Any:
    """The JSON value of a key of the metadata, or `default`; ValueError unless it fits, `expected` in words."""
    try:
        value = strict_json(file.metadata[key]) if key in file.metadata else default
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{key} in its metadata is not valid JSON ({error})") from None
    if not fits(value):
        raise ValueError(f"{key} in its metadata is {value!r:.80}; expected {expected}")
    return value


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _slices(file: SafetensorsFile, order: list[str]) -> dict[str, str]:
    def fits(value: Any) -> bool:
        return isinstance(value, dict) and _are_strings(list(value.values())) and value.keys() <= set(order)

    slices: dict[str, str] = _metadata(file, "slices", {}, fits, "path → slice")
    for text in slices.values():
        parse_slice(text)
    return slices


def _shapes(file: SafetensorsFile, order: list[str], slices: dict[str, str], brief: bool) -> dict[str, tuple[int, ...]]:
    """Path → shape of the whole activation: as the metadata say, and as they are stored where they are stored whole."""
    found = {path: file.entries[ACTIVATIONS + path].shape for path in order if ACTIVATIONS + path in file.entries}

    def fits(value: Any) -> bool:
        if not isinstance(value, list) or len(value) != len(order) or not all(map(_is_shape, value)):
            return False
        pairs = zip(order, value, strict=True)
        return all(path in slices or found.get(path) in (None, tuple(shape)) for path, shape in pairs)

    default = None if brief else [found[path] for path in order]
    shapes = _metadata(file, "shapes", default, fits, f"those of its {len(order)} activations")
    return {path: tuple(shape) for path, shape in zip(order, shapes, strict=True)}


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, list | tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 2**63 for size in shape)
    )


def _dtypes(file: SafetensorsFile, order: list[str], brief: bool) -> dict[str, str]:
    """Path → dtype that the activation was computed in: as the metadata say, else as it is stored."""
    stored = ["F32" if brief else file.entries[ACTIVATIONS + path].dtype for path in order]
    if strange := set(stored) - NAMES.keys():
        raise ValueError(f"an activation is stored as {min(strange)}; expected one of {', '.join(NAMES)}")
    dtypes = _metadata(
        file,
        "dtypes",
        [NAMES[dtype] for dtype in stored],
        lambda v: isinstance(v, str) or (_are_strings(v) and len(v) == len(order)),
        "one, or one for each activation",
    )
    return dict.fromkeys(order, dtypes) if isinstance(dtypes, str) else dict(zip(order, dtypes, strict=True))


def _array(file: SafetensorsFile, name: str) -> NDArray:
    return file.read(name) if file.entries[name].dtype == "BF16" else file.plain(name)


def _tables(file: SafetensorsFile, shapes: dict[str, tuple[int, ...]]) -> Mapping[str, Statistics]:
    """Path → the statistics in its row of the tables."""
    tables = {name: file.plain(name) for name in TABLES}
    for name, columns in TABLES.items():
        if tables[name].shape != (len(shapes), columns) or tables[name].dtype.kind != "f":
            raise ValueError(f"{name} has the shape {tables[name].shape}; expected floats ({len(shapes)}, {columns})")
    rows = {path: row for row, path in enumerate(shapes)}

    def make(path: str) -> Statistics:
        row, shape = rows[path], shapes[path]
        mean, std, low, high, rms = map(float, tables["statistics"][row])
        first = tables["first"][row, : min(FIRST, prod(shape))]
        return Statistics(shape, mean, std, low, high, rms, first, tables["projection"][row])

    return OnDemand(shapes, make)
