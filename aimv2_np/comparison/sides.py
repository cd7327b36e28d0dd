"""The two sides of a comparison as recordings, whatever they come as, and their activations brought to one shape."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import is_array
from aimv2_np.errors import CheckpointError
from aimv2_np.recording.recording import ACTIVATIONS, FORMAT, INPUTS, Recording
from aimv2_np.recording.slices import parse_slice
from aimv2_np.storage import SafetensorsFile

NDArray = np.ndarray[Any, np.dtype[Any]]


def as_recording(side: Any, what: str) -> Recording:
    """A recording of a recording, the path of one (or of any safetensors file of arrays), or a dict of arrays.

    In dicts and plain files, names may begin with `inputs/` and `activations/` as in recordings.
    """
    if isinstance(side, Recording):
        return side
    if isinstance(side, str | os.PathLike):
        return _from_file(side)
    if isinstance(side, Mapping) and all(isinstance(name, str) for name in side):
        wrong = [name for name, value in side.items() if not is_array(value)]
        if wrong:
            kind = type(side[wrong[0]]).__name__
            raise TypeError(f"{what}[{wrong[0]!r:.100}] is a {kind}; expected a NumPy or CuPy array")
        return _from_arrays(side)
    raise TypeError(f"{what} is a {type(side).__name__}; expected a path, a Recording or a dict of arrays")


def _from_file(path: Any) -> Recording:
    file = SafetensorsFile(path)
    if "format" in file.metadata and file.metadata["format"].startswith(FORMAT.partition("/")[0]):
        return Recording.load(path)
    # A plain file of arrays, as a C++ or Rust program writes one most easily; its order is of no importance.
    arrays = {}
    for name, entry in file.entries.items():
        half = entry.dtype == "BF16"
        arrays[name] = file.read(name) if half else file.plain(name)
    recording = _from_arrays(arrays)
    for name, entry in file.entries.items():
        if entry.dtype == "BF16" and not name.startswith(INPUTS):
            recording.dtypes[name.removeprefix(ACTIVATIONS)] = "bfloat16"
    return recording


def _from_arrays(arrays: Mapping[str, Any]) -> Recording:
    inputs = {name.removeprefix(INPUTS): value for name, value in arrays.items() if name.startswith(INPUTS)}
    return Recording.from_arrays(
        {name.removeprefix(ACTIVATIONS): value for name, value in arrays.items() if not name.startswith(INPUTS)}, inputs
    )


def pair(reference: Recording, other: Recording, ours: str, theirs: str) -> tuple[NDArray, NDArray, str] | str | None:
    """The arrays of one activation on both sides in the reference's shape, and a remark if theirs had another.

    A text that says why, when their shapes cannot be brought together; None when a side has no array.
    """
    if ours not in reference.activations or theirs not in other.activations:
        return None
    a, b = reference.activations[ours], other.activations[theirs]
    cut_a, cut_b = reference.slices.get(ours), other.slices.get(theirs)
    if cut_a != cut_b:
        if cut_a is not None and cut_b is not None:
            return f"the sides recorded different parts, [{cut_a}] and [{cut_b}]"
        try:
            a, b = (a, _cut(b, cut_a)) if cut_a is not None else (_cut(a, cut_b or ""), b)
        except IndexError:
            return f"the part [{cut_a or cut_b}] does not exist on the other side"
    return _aligned(a, b)


def check_kinds(recording: Recording, path: str) -> None:
    """CheckpointError for an activation that does not hold numbers."""
    if path in recording.activations and recording.activations[path].dtype.kind not in "fiub":
        kind = recording.activations[path].dtype
        raise CheckpointError(f"the activation {path!r:.100} has the dtype {kind}; expected real numbers")


def _cut(array: NDArray, text: str) -> NDArray:
    return np.asarray(array[parse_slice(text)])


def _aligned(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray, str] | str:
    if a.shape == b.shape:
        return a, b, ""
    if _squeezed(a) == _squeezed(b):
        return a, b.reshape(a.shape), f"theirs is {b.shape}"
    if a.ndim == 3 and b.ndim == 4 and (b.shape[0], b.shape[2] * b.shape[3], b.shape[1]) == a.shape:
        # what a convolution returns, (B, D, rows, columns)
        return a, b.reshape(*b.shape[:2], -1).swapaxes(1, 2), f"theirs is {b.shape}, channels first"
    if a.ndim == 4 and b.shape == (a.shape[0], a.shape[2], a.shape[1] * a.shape[3]):
        batch, heads, tokens, size = a.shape
        return a, b.reshape(batch, tokens, heads, size).swapaxes(1, 2), f"theirs is {b.shape}, heads merged"
    if a.ndim == 4 and b.shape == (a.shape[0], a.shape[2], a.shape[1], a.shape[3]):
        return a, b.swapaxes(1, 2), f"theirs is {b.shape}, heads second"
    return f"theirs has the shape {b.shape}"


def _squeezed(array: NDArray) -> tuple[int, ...]:
    return tuple(size for size in array.shape if size != 1)
