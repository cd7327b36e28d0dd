"""Writing a safetensors file tensor by tensor, as the safetensors library lays them out.

The library's own writer is not used, for three reasons: it wants every tensor of a file in host memory at once, where
weights on a GPU and those of a conversion are made one by one here; its files (0.8.0) are readable by their owner only;
and it orders metadata by chance, so that the same weights would not give the same bytes.
"""

import os
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from aimv2_np.backends.arrays import to_host
from aimv2_np.backends.dtypes import CODES
from aimv2_np.backends.narrow import Narrow
from aimv2_np.files.atomic import atomic_write
from aimv2_np.shapes import Array
from aimv2_np.storage.formats.header import MAX_DIMENSIONS, METADATA, write_header
from aimv2_np.storage.formats.lazy import Lazy

State = Mapping[str, Array | Lazy]
# What Transformers looks for in the metadata before it reads a file.
METADATA_PT = {"format": "pt"}


def save_safetensors(
    path: str | os.PathLike[str], state: State, metadata: Mapping[str, str] = METADATA_PT, overwrite: bool = False
) -> None:
    """Write arrays of any shapes, of floats, integers or bools, to one safetensors file; lazy ones are made one by one.

    Raises FileExistsError for an existing file unless `overwrite`, ValueError for what the format cannot hold.
    """
    if not all(isinstance(item, str) for pair in metadata.items() for item in pair):
        raise ValueError(f"metadata is {metadata!r:.200}; expected strings only, which is all that the format holds")
    tensors = {name: lazy(name, state[name]) for name in sorted(state, key=str)}
    with atomic_write(path, overwrite) as file:
        for name in write_header(file, {name: (x.stored_as, x.shape) for name, x in tensors.items()}, metadata):
            write_array(file, tensors[name])


def write_array(file: BinaryIO, array: Lazy) -> None:
    """Write the elements of `array`, row-major and little-endian, and nothing else."""
    if array.nbytes:  # an empty array has no buffer to write
        file.write(array.raw().data)


def lazy(name: str, array: Array | Lazy) -> Lazy:
    """`array`, brought to host memory when it is written; ValueError when the format cannot hold it under that name."""
    if not isinstance(name, str) or not name or name == METADATA:
        raise ValueError(f"the name of a tensor is {name!r}; expected a text, and not {METADATA}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name of a tensor is {name!r}; expected a text that has a form in UTF-8") from None
    if len(array.shape) > MAX_DIMENSIONS:
        raise ValueError(f"{name} has {len(array.shape)} dimensions; expected at most {MAX_DIMENSIONS}")
    if isinstance(array, Lazy):
        return array
    if (dtype := array.dtype.name) not in CODES:
        raise ValueError(f"{name} has the dtype {array.dtype}; expected one of {', '.join(CODES)}")
    if isinstance(array, Narrow) and array.rounds:  # a model in bfloat16 is stored so
        return Lazy("BF16", array.shape, lambda: array.numbers)
    bits = np.uint16 if dtype == "bfloat16" else array.dtype
    return Lazy(CODES[dtype], array.shape, lambda: to_host(array).view(bits))
