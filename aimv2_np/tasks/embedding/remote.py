"""Pictures far away: at web addresses and in S3, read through fsspec, the extra `remote`.

What the other side says of a picture (nothing is there, it is refused) is that picture's fault. That it does not
answer, or breaks off, is the network's: an OSError with the address, which stops a run that can be continued.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from aimv2_np.errors import plain
from aimv2_np.tasks.embedding.tar import MAX_BYTES, Contents, contents

ADDRESS: Final = re.compile(r"(https?|s3)://", re.IGNORECASE)
LATER: Final = {408, 425, 429}  # answers that say nothing about the picture: too slow, too early, too many
ANSWERS: Final[dict[type, int]] = {FileNotFoundError: 404, PermissionError: 403}  # as fsspec tells them
BLOCK: Final = 2**20  # bytes that are asked for at a time while an archive's headers are read


def is_remote(path: str) -> bool:
    """Whether a path is an address."""
    return ADDRESS.match(path) is not None


def lowered(address: str) -> str:
    """An address with its scheme in small letters, as fsspec knows it."""
    return ADDRESS.sub(lambda scheme: scheme[0].lower(), address, count=1)


@dataclass(frozen=True)
class Remote:
    """A picture at an address, or a part of what is there.

    Attributes:
        address: of the picture, or of the archive that it lies in.
        stamp: what is known of its version: size and ETag from a listing; of a picture by itself "".
        start, size: in an archive, where it lies and how many bytes it has; -1 of a picture by itself.
    """

    address: str
    stamp: str = ""
    start: int = -1
    size: int = -1

    @property
    def where(self) -> str:
        """Where in the archive, as a text."""
        return "" if self.start < 0 else f"{self.start} {self.size}"

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            FileNotFoundError, ValueError: there is none, it is refused, or too large.
            OSError: the other side does not answer.
        """
        if self.size > MAX_BYTES:
            raise ValueError(f"the file has {self.size:,} bytes; expected at most {MAX_BYTES:,}")
        with reaching(self.address):
            if self.start < 0:
                data = _whole(self.address)
            elif self.size == 0:
                data = b""  # no range of bytes that a server could be asked for has none
            else:
                part = {"start": self.start, "end": self.start + self.size}
                data = bytes(system(self.address).cat_file(self.address, **part))
        if len(data) > MAX_BYTES:
            raise ValueError(f"the file has more than {MAX_BYTES:,} bytes; expected a picture")
        if self.start >= 0 and len(data) != self.size:
            raise ValueError(
                f"the server gives {len(data):,} bytes where {self.size:,} were asked for: it does not give parts of a "
                "file, or the archive has changed; fetch the archive first"
            )
        return data


def _whole(address: str) -> bytes:
    """All bytes, or of a server that does not end some more than `MAX_BYTES`."""
    if address.startswith("s3:"):
        try:
            return bytes(system(address).cat_file(address, end=MAX_BYTES + 1))
        except OSError as error:  # of an empty object S3 gives no part (416), not even one that begins with it
            if error.errno == errno.EINVAL and system(address).info(address)["size"] == 0:
                return b""
            raise
    data = bytearray()
    # As a stream, without asking for the size before.
    with system(address).open(address, "rb", block_size=0, size=1) as file:
        while len(data) <= MAX_BYTES and (piece := file.read(BLOCK)):
            data += piece
    return bytes(data)


def picture_at(address: str) -> Remote:
    """The picture at an address, which is not asked for yet. ImportError where nothing is installed that could."""
    address = lowered(address)
    system(address)
    return Remote(address)


def system(address: str) -> Any:
    """fsspec's file system for an address; ImportError that says how to get it."""
    return _system(urlsplit(address).scheme)


@cache
def _system(scheme: str) -> Any:
    try:
        import fsspec

        return fsspec.filesystem(scheme)
    except ImportError as error:
        raise ImportError(
            f"pictures at {scheme}:// need fsspec, which is not installed with what that takes: pip install "
            "'aimv2-np[remote]'; or fetch them first"
        ) from error


@contextmanager
def reaching(address: str, named: bool = False) -> Iterator[None]:
    """What goes wrong in it is the picture's fault (FileNotFoundError, ValueError) or the network's (OSError).

    Of a picture's fault the address is said beside it; `named` says it in the error, of what stops the command.
    """
    at = f"{address}: " if named else ""
    try:
        yield
    except ImportError:
        raise
    except Exception as raised:  # of aiohttp, botocore and what these stand on
        # While fsspec asks a web server for a file's size, it says of whatever goes wrong that nothing is there.
        missing = isinstance(raised, FileNotFoundError) and address.startswith("http")
        error = (raised.__cause__ if missing else None) or raised
        status = getattr(error, "status", ANSWERS.get(type(error), 0))
        if status == 404:
            raise FileNotFoundError(f"{at}there is nothing at this address (404)") from raised
        if 400 <= status < 500 and status not in LATER:
            said = plain(getattr(error, "message", ""))
            raise ValueError(f"{at}the server refuses it ({status} {said})") from raised
        told = f"the network failed ({type(error).__name__}: {plain(error, 200)})"
        raise OSError(errno.ECONNABORTED, told, address) from raised


def listed(address: str) -> list[tuple[str, Remote]]:
    """Name and place of all that lies below an address in S3, by name."""
    with reaching(address, named=True):
        found = system(address).find(address, detail=True)
    scheme = urlsplit(address).scheme
    return [
        (name := f"{scheme}://{path}", Remote(name, f"{info.get('size')} {info.get('ETag')}"))
        for path, info in sorted(found.items())
    ]


def remote_contents(address: str) -> tuple[Contents, str]:
    """What a tar archive at an address holds, and the archive's stamp. Headers are read, in pieces of a megabyte."""
    with reaching(address, named=True):
        files = system(address)
        info = files.info(address)
        file = files.open(address, "rb", block_size=BLOCK, cache_type="readahead")
    with file:
        held = contents(address, _Telling(file, address))
    return held, f"{info.get('size')} {info.get('ETag')}"


class _Telling:
    """An open file whose errors are told as `reaching` tells them."""

    def __init__(self, file: Any, address: str) -> None:
        self._file, self._address = file, address

    def read(self, size: int = -1) -> Any:
        with reaching(self._address):
            return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> Any:
        return self._file.seek(place, whence)

    def tell(self) -> Any:
        return self._file.tell()
