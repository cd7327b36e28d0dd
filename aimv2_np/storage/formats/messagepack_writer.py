"""Writing Flax's MessagePack files array by array; the format is described in `messagepack.py`."""

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from aimv2_np.backends.dtypes import NAMES
from aimv2_np.files.atomic import atomic_write
from aimv2_np.storage.formats.lazy import Lazy
from aimv2_np.storage.formats.safetensors_writer import write_array

CHUNK = 2**30  # bytes; Flax splits what is larger
# Kind → (the length or value must be below, first byte), shortest form first.
FORMS: dict[str, tuple[tuple[int, int], ...]] = {
    "map": ((16, 0x80), (2**16, 0xDE), (2**32, 0xDF)),
    "list": ((16, 0x90), (2**16, 0xDC), (2**32, 0xDD)),
    "text": ((32, 0xA0), (2**8, 0xD9), (2**16, 0xDA), (2**32, 0xDB)),
    "bytes": ((2**8, 0xC4), (2**16, 0xC5), (2**32, 0xC6)),
    "extension": ((2**8, 0xC7), (2**16, 0xC8), (2**32, 0xC9)),
    "unsigned": ((2**7, 0x00), (2**8, 0xCC), (2**16, 0xCD), (2**32, 0xCE), (2**64, 0xCF)),
}
EMBEDDED = (0x80, 0x90, 0xA0, 0x00)  # the length is part of the first byte
FIXED_EXTENSIONS = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}


def save_messagepack(path: str | os.PathLike[str], state: Mapping[str, Lazy], overwrite: bool = False) -> None:
    """Write tensors by their paths, `params/trunk/...`, to one file, as `flax.serialization` would, names sorted.

    Raises FileExistsError for an existing file unless `overwrite`, ValueError for an array over 1 GiB.
    """
    large = [name for name, tensor in state.items() if tensor.nbytes > CHUNK]
    if large:
        raise ValueError(f"{large[0]} is larger than 1 GiB, which Flax keeps in chunks; choose another layout")
    tree: dict[str, Any] = {}
    for name, tensor in state.items():
        *folders, leaf = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[leaf] = tensor
    with atomic_write(path, overwrite) as file:
        _write_map(file, tree)


def _write_map(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(head("map", len(tree)))
    for name in sorted(tree):
        file.write(head("text", len(name.encode())) + name.encode())
        value = tree[name]
        if isinstance(value, Lazy):
            _write_array(file, value)
        else:
            _write_map(file, value)


def _write_array(file: BinaryIO, tensor: Lazy) -> None:
    dtype = NAMES[tensor.stored_as].encode()
    shape = b"".join(head("unsigned", size) for size in tensor.shape)
    before = (
        head("list", 3) + head("list", len(tensor.shape)) + shape
        + head("text", len(dtype)) + dtype + head("bytes", tensor.nbytes)
    )  # fmt: skip
    length = len(before) + tensor.nbytes
    fixed = FIXED_EXTENSIONS.get(length)
    file.write((bytes([fixed]) if fixed else head("extension", length)) + b"\1" + before)
    write_array(file, tensor)


def head(kind: str, value: int) -> bytes:
    """The shortest beginning of an item of `kind` with this length, or this value."""
    bound, first = next(form for form in FORMS[kind] if value < form[0])
    if first in EMBEDDED:
        return bytes([first + value])
    return bytes([first]) + value.to_bytes((bound - 1).bit_length() // 8, "big")
