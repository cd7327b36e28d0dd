"""The two sides of a comparison as recordings, whatever they come as, and their activations brought to one shape."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import is_array
from aimv2_np.comparison.alignment import UnlikeError, in_shape
from aimv2_np.errors import CheckpointError, a_type, quoted
from aimv2_np.recording.recording import ACTIVATIONS, FORMAT, INPUTS, Recording
from aimv2_np.recording.slices import parse_slice
from aimv2_np.shapes import NDArray
from aimv2_np.storage import SafetensorsFile


def as_recording(side: object, what: str) -> Recording:
    """One side of a comparison as a recording; `what` is the argument's name, for messages.

    A `Recording` is returned as it is; a path is read, of a recording or of any safetensors file of arrays; a dict of
    arrays by name, of PyTorch's tensors or of nested lists of numbers (as float32) becomes a recording in memory. In
    dicts and plain files, names may begin with `inputs/` and `activations/` as in recordings. TypeError for anything
    else, and what `Recording.load` raises for files.
    """
    if isinstance(side, Recording):
        return _checked(side)
    if isinstance(side, str | os.PathLike):
        return _checked(_from_file(side))
    if not isinstance(side, Mapping):
        raise TypeError(f"{what} is {a_type(side)}; expected a path, a Recording or a dict of arrays")
    for name in side:
        if not isinstance(name, str):
            raise TypeError(f"{what} has the key {quoted(name)}; expected a dict of arrays by name, such as 'rms_norm'")
    return _checked(_from_arrays({name: each for given in side for name, each in _arrays(given, side[given], what)}))


def _checked(recording: Recording) -> Recording:
    """The recording; CheckpointError where it has inputs that no model takes."""
    for name, array in recording.inputs.items():
        if array.dtype.kind not in "fiub":
            raise CheckpointError(f"the input {name!r:.100} has the dtype {array.dtype}; expected real numbers")
    return recording


def _arrays(name: str, value: Any, what: str) -> Iterator[tuple[str, Any]]:
    """(name, array) of a value of a dict: of several arrays, such as Transformers' `hidden_states`, `name.i`."""
    if is_array(value) or hasattr(value, "detach"):
        yield name, value
        return
    if isinstance(value, list | tuple):
        if value and all(is_array(item) or hasattr(item, "detach") for item in value):
            one = len(value) == 1  # as modules return `(output,)`
            yield from ((name if one else f"{name}.{i}", item) for i, item in enumerate(value))
            return
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            array = np.asarray(None)
        if array.dtype.kind in "fiub" and array.size:
            yield name, array.astype(np.float32) if array.dtype == np.float64 else array
            return
    raise TypeError(
        f"{what}[{name!r:.100}] is {a_type(value)}; expected an array of NumPy or CuPy, a PyTorch tensor, a list of "
        "these, or nested lists of numbers"
    )


def _from_file(path: str | os.PathLike[str]) -> Recording:
    file = SafetensorsFile(path)
    if "format" in file.metadata and file.metadata["format"].startswith(FORMAT.partition("/")[0]):
        return Recording.load(path)
    # A plain file of arrays, as a C++ or Rust program writes one most easily; its order is of no importance.
    halves = [name for name, entry in file.entries.items() if entry.dtype == "BF16"]
    recording = _from_arrays({name: file.read(name) if name in halves else file.plain(name) for name in file.entries})
    recording.dtypes |= {name.removeprefix(ACTIVATIONS): "bfloat16" for name in halves if not name.startswith(INPUTS)}
    return recording


def _from_arrays(arrays: Mapping[str, Any]) -> Recording:
    inputs = {name.removeprefix(INPUTS): value for name, value in arrays.items() if name.startswith(INPUTS)}
    return Recording.from_arrays(
        {name.removeprefix(ACTIVATIONS): value for name, value in arrays.items() if not name.startswith(INPUTS)}, inputs
    )


def pair(
    reference: Recording, other: Recording, ours: str, theirs: str, *, exchanged: bool = False
) -> tuple[NDArray, NDArray, str] | None:
    """The arrays of one activation on both sides in the reference's shape, and a remark if theirs had another.

    With `exchanged`, axes of one length may be exchanged. None when a side has no array; UnlikeError when they cannot
    be brought together; CheckpointError when one holds other things than numbers.
    """
    a, b = reference.activations.get(ours), other.activations.get(theirs)
    for path, array in ((ours, a), (theirs, b)):
        if array is not None and array.dtype.kind not in "fiub":
            raise CheckpointError(f"the activation {path!r:.100} has the dtype {array.dtype}; expected real numbers")
    if a is None or b is None:
        return None
    cut_a, cut_b = reference.slices.get(ours), other.slices.get(theirs)
    if cut_a and cut_b and cut_a != cut_b:
        raise UnlikeError(f"the sides recorded different parts, [{cut_a}] and [{cut_b}]")
    try:
        if cut_a and not cut_b:
            b = np.asarray(b[parse_slice(cut_a)])
        elif cut_b and not cut_a:
            a = np.asarray(a[parse_slice(cut_b)])
    except IndexError:
        raise UnlikeError(f"the part [{cut_a or cut_b}] does not exist on the other side") from None
    b, note = in_shape(b, a, exchanged=exchanged)
    return a, b, note
