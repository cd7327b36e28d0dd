"""NumPy's .npz: arrays as .npy files in a ZIP archive without compression; written aligned, and mapped when read."""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from aimv2_np.shapes import NDArray

ALIGNMENT: Final = 64  # bytes; that of .npy files, so that mapped numbers are used where they lie
LOCAL: Final = struct.Struct("<26xHH")  # a ZIP file's local header up to the lengths of its name and its extra field
ZIP64: Final = 20  # bytes that zipfile adds to the extra field
PADDING: Final = 0xD935  # the extra field by which Android's zipalign pads


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata as `numpy.savez` does, with every array's numbers at a multiple of `ALIGNMENT`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {**arrays, "metadata": np.array(json.dumps(dict(metadata)))}.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            padding = -(file.tell() + LOCAL.size + len(info.filename) + ZIP64 + 4) % ALIGNMENT
            info.extra = struct.pack("<HH", PADDING, padding) + bytes(padding)
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def read(path: Path) -> tuple[dict[str, str], dict[str, NDArray]]:
    """The metadata and the arrays, mapped; of what `write_npz` did not write an error, NumPy's or zipfile's too."""
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
    if fortran or dtype.hasobject or not dtype.isnative or file.tell() - start + size != info.file_size:
        raise ValueError(f"{info.filename} is no array of numbers in rows, of another byte order, or cut short")
    if size == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", file.tell(), shape).view(np.ndarray)
