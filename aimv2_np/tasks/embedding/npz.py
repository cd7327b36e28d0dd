"""NumPy's .npz: arrays as .npy files in a ZIP archive without compression, written in pieces and mapped when read."""

import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from aimv2_np.shapes import NDArray
from aimv2_np.tasks.embedding.columns import Column

ALIGNMENT: Final = 64  # bytes; that of .npy files, so that mapped numbers are used where they lie
LOCAL: Final = struct.Struct("<26xHH")  # a ZIP file's local header up to the lengths of its name and its extra field
ZIP64: Final = 20  # bytes that zipfile adds to the extra field
PADDING: Final = 0xD935  # the extra field by which Android's zipalign pads


def write(file: BinaryIO, columns: Sequence[Column], metadata: Mapping[str, str]) -> None:
    """Write columns and metadata; each column in pieces, however large it is."""
    text = np.array(json.dumps(dict(metadata)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for column in [*columns, Column("metadata", text.dtype, (), lambda: iter([text]))]:
            info = zipfile.ZipInfo(f"{column.name}.npy")
            behind = file.tell() + LOCAL.size + len(info.filename) + ZIP64 + 4
            padding = -behind % ALIGNMENT
            info.extra = struct.pack("<HH", PADDING, padding) + bytes(padding)
            with archive.open(info, "w", force_zip64=True) as member:
                descr = np.lib.format.dtype_to_descr(column.dtype)
                header = {"descr": descr, "fortran_order": False, "shape": column.shape}
                np.lib.format.write_array_header_1_0(member, header)
                for piece in column.pieces():
                    member.write(np.ascontiguousarray(piece, column.dtype).tobytes())


def read(path: Path) -> tuple[dict[str, str], dict[str, NDArray]]:
    """The metadata and the arrays, mapped. Raises ValueError and zipfile's errors for what `write` has not written."""
    arrays: dict[str, NDArray] = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{info.filename} is compressed; expected a file that numpy.savez would write")
            arrays[info.filename.removesuffix(".npy")] = _map(path, file, info)
    facts = json.loads(str(arrays.pop("metadata", np.array("{}"))[()]))
    if not isinstance(facts, dict):
        raise ValueError("its metadata are no object")
    return {str(key): str(value) for key, value in facts.items()}, arrays


def _map(path: Path, file: BinaryIO, info: zipfile.ZipInfo) -> NDArray:
    file.seek(info.header_offset)
    name, extra = LOCAL.unpack(file.read(LOCAL.size))
    start = info.header_offset + LOCAL.size + name + extra
    file.seek(start)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"{info.filename} is .npy of version {version}; expected (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if fortran or dtype.hasobject or file.tell() - start + size != info.file_size:
        raise ValueError(f"{info.filename} is no array of numbers in rows, or cut short")
    if size == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", file.tell(), shape).view(np.ndarray)
