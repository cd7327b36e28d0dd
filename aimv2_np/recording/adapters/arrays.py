"""Arrays that somebody computed, by name: the adapter for everything that has no adapter."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import is_array
from aimv2_np.recording.recording import Recording
from aimv2_np.recording.writer import RecordingWriter


def record_arrays(
    arrays: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    inputs: Mapping[str, Any] | None = None,
    dtypes: Mapping[str, str] | None = None,
    **options: Any,
) -> Recording:
    """Write activations that are there already to `path`.

    Args:
        arrays: dotted path → array (or what `numpy.asarray` takes), in order of execution. Any names do: `compare`
            maps them.
        path: the safetensors file to write.
        inputs: what the model was given: pixel_values, input_ids, attention_mask.
        dtypes: path → the dtype that it was computed in, where NumPy lacks it: "bfloat16".
        options: statistics, slices, overwrite and metadata of `RecordingWriter`.

    Raises:
        ValueError: no arrays, or arrays of other things than numbers.
        FileExistsError: `path` is there and `overwrite` is not set.
    """
    if not arrays:
        raise ValueError("found no arrays; expected a mapping from paths to arrays")
    with RecordingWriter(path, source="arrays", **options) as writer:
        for name, array in (inputs or {}).items():
            writer.add_input(name, _as_array(array))
        for name, array in arrays.items():
            writer.add(name, _as_array(array), (dtypes or {}).get(name))
    return Recording.load(path)


def _as_array(value: Any) -> Any:
    return value if is_array(value) else np.asarray(value)
