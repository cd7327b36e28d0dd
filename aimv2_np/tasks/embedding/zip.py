"""Pictures in zip archives: their bytes, read where they lie. Nothing is unpacked to disk, whatever a name says."""

import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from struct import Struct
from typing import Final

from aimv2_np.errors import is_of_the_system, plain
from aimv2_np.files.atomic import naming_path
from aimv2_np.tasks.embedding.tar import MAX_BYTES

ZIP: Final = (".zip",)
LOCAL: Final = Struct("<4s22xHH")  # a file's own header: its mark, and the lengths of the name and of the extra field
ENCRYPTED: Final = 1  # bit of a file's flags
# Deflate makes at most 1032 bytes of one. A file that is larger than this must not be made of so little: no photograph
# and no drawing in a compressed format shrinks by as much once more.
MAX_FLAT_BYTES: Final = 2**24
BYTES_PER_BYTE: Final = 500


@dataclass(frozen=True)
class ZipMember:
    """A file in a zip archive, `file`: its name there, and where its bytes lie, packed by `method`."""

    file: str
    name: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int

    @property
    def where(self) -> str:
        """Where in it, as a text."""
        return f"{self.offset} {self.size} {self.crc}"

    def read(self) -> bytes:
        """Its bytes; from any thread, in any order. ValueError for what is damaged, or made to exhaust memory."""
        if max(self.size, self.packed) > MAX_BYTES:
            raise ValueError(f"the file has {self.size:,} bytes; expected at most {MAX_BYTES:,}")
        if self.size > MAX_FLAT_BYTES and self.size > BYTES_PER_BYTE * self.packed:
            raise ValueError(
                f"the file becomes {self.size:,} bytes from {self.packed:,}; expected a byte for every "
                f"{BYTES_PER_BYTE} at least: it may be made to exhaust memory, unpack it if you trust it"
            )
        if self.method not in UNPACK:
            raise ValueError(
                f"the file is packed by method {self.method} of zip; expected it stored or deflated: pack it again"
            )
        with naming_path(self.file), Path(self.file).open("rb") as file:
            file.seek(max(0, self.offset))  # a damaged directory may say anything
            header = file.read(LOCAL.size)
            if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
                raise ValueError("the archive has no file where it says that one is; fetch it again")
            file.seek(sum(LOCAL.unpack(header)[1:]), 1)
            packed = file.read(self.packed)
        try:
            data = UNPACK[self.method](packed, self.size)
        except zlib.error as error:
            raise ValueError(f"it cannot be read from its archive: {error}") from error
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise ValueError("it cannot be read from its archive: it is damaged there; fetch the archive again")
        return data


def _inflate(packed: bytes, size: int) -> bytes:
    """Not more than one byte beyond `size`, whatever is packed."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)


UNPACK: Final[dict[int, Callable[[bytes, int], bytes]]] = {
    zipfile.ZIP_STORED: lambda packed, size: packed,
    zipfile.ZIP_DEFLATED: _inflate,
}


def zip_contents(archive: str) -> tuple[dict[str, ZipMember | str], int, str]:
    """Name → file, or why it is not taken; how many a later one of the same name has replaced; why nothing can be read.

    OSError where the archive cannot be opened.
    """
    found: dict[str, ZipMember | str] = {}
    duplicates = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if not info.is_dir():
                    duplicates += found.pop(info.filename, None) is not None
                    found[info.filename] = _place(archive, info)
    except Exception as error:  # of a hostile directory zipfile raises whatever comes
        if is_of_the_system(error) or (isinstance(error, OSError) and error.errno is not None):
            raise
        return {}, 0, f"it cannot be read as a zip archive ({plain(error)}); it may be damaged, fetch it again"
    return found, duplicates, ""


def _place(archive: str, info: zipfile.ZipInfo) -> ZipMember | str:
    name = info.filename
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link, which is not followed"
    inside = PureWindowsPath(name)  # which takes both kinds of slashes
    if inside.root or inside.drive or ".." in inside.parts:
        return "its name leads out of the archive; expected one below it: pack it again"
    if info.flag_bits & ENCRYPTED:
        return "it is encrypted; expected an archive without a password: unpack it"
    sizes = info.compress_size, info.file_size, info.compress_type, info.CRC
    return ZipMember(archive, name, info.header_offset, *sizes)


def find_in_zip(name: str) -> ZipMember | None:
    """The file that a name like "archive.zip/path/in/it" means, or None where there is no such archive or file."""
    for parent in Path(name).parents:
        if str(parent).lower().endswith(ZIP) and parent.is_file():
            found = zip_contents(str(parent))[0].get(name[len(str(parent)) + 1 :])
            return found if isinstance(found, ZipMember) else None
    return None
