"""Arrays that somebody computed, by name: the adapter for everything that has no adapter."""

import os
from collections.abc import Mapping
from typing import Any, Unpack

from aimv2_np.recording.recording import Recording
from aimv2_np.recording.writer import RecordingWriter, WriterOptions


def record_arrays(
    arrays: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    inputs: Mapping[str, Any] | None = None,
    dtypes: Mapping[str, str] | None = None,
    **options: Unpack[WriterOptions],
) -> Recording:
    """Write activations that are there already to `path`.

    Args:
        arrays: dotted path → array (or what `numpy.asarray` takes), in order of execution. Any names do: `compare`
            maps them.
        path: the safetensors file to write.
        inputs: what the model was given: pixel_values, input_ids, attention_mask.
        dtypes: path → the dtype that it was computed in, where NumPy lacks it: "bfloat16".
        options: statistics, whole, slices, overwrite and metadata of `RecordingWriter`.

    Raises:
        ValueError: no arrays, or arrays of other things than numbers.
        FileExistsError: `path` is there and `overwrite` is not set.
    """
    if not arrays:
        raise ValueError("arrays is empty; expected a mapping from paths to arrays")
    with RecordingWriter(path, source="arrays", **options) as writer:
        for name, array in (inputs or {}).items():
            writer.add_input(name, array)
        for name, array in arrays.items():
            writer.add(name, array, (dtypes or {}).get(name))
    return Recording.load(path)
