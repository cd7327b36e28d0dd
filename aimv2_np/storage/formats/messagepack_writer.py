"""Writing Flax's MessagePack files array by array; the format is described in `messagepack.py`."""

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from aimv2_np.backends.dtypes import NAMES
from aimv2_np.files.atomic import atomic_write
from aimv2_np.storage.formats.lazy import Lazy
from aimv2_np.storage.formats.messagepack import HEADS, SHORT
from aimv2_np.storage.formats.safetensors_writer import write_array

CHUNK = 2**30  # bytes; Flax splits what is larger
# Kind → (the length or value must be below, first byte, bytes that it takes behind that), shortest form first.
FORMS = {
    kind: sorted(
        [(high - low + 1, low, 0) for short, low, high in SHORT if short == kind != "extension"]
        + [(256**width, first, width) for first, (long, width) in HEADS.items() if long == kind]
    )
    for kind in ("map", "list", "text", "bytes", "extension", "unsigned")
}
FIXED_EXTENSIONS = {1 << power: 0xD4 + power for power in range(5)}  # those of few bytes have first bytes of their own


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
    _, first, width = next(form for form in FORMS[kind] if value < form[0])
    return bytes([first]) + value.to_bytes(width, "big") if width else bytes([first + value])
