"""Flax's MessagePack files: a tree of maps with arrays for leaves, read without the msgpack library and without copies.

    array = extension of type 1 (a NumPy scalar: 3) whose bytes are [shape, name of the dtype, raw bytes]

(msgpack specification, github.com/msgpack/msgpack; flax/serialization.py.) Of a file only the places of its arrays are
noted, and each length is checked against the bytes that are there before anything is read.
"""

import math
import mmap
from typing import BinaryIO

from aimv2_np.backends.dtypes import BITS, CODES
from aimv2_np.errors import CheckpointError, quoted
from aimv2_np.storage.formats.header import MAX_BYTES, MAX_DIMENSIONS, TensorEntry
from aimv2_np.storage.formats.mapped import MappedFile

ARRAYS = (1, 3)
CHUNKED = "__msgpack_chunked_array__"
# A layer of a tower takes about a hundred; few enough to walk through in half a second.
MAX_ITEMS = 2**17
MAX_DEPTH = 32
MAX_NAME = 400  # bytes of a name, letters of a path

# First byte → (kind, bytes of the length or the number that follows); the short forms follow.
HEADS = {
    0xC0: ("scalar", 0), 0xC2: ("scalar", 0), 0xC3: ("scalar", 0),
    0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4),
    0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4),
    0xCA: ("float", 4), 0xCB: ("float", 8),
    0xCC: ("unsigned", 1), 0xCD: ("unsigned", 2), 0xCE: ("unsigned", 4), 0xCF: ("unsigned", 8),
    0xD0: ("signed", 1), 0xD1: ("signed", 2), 0xD2: ("signed", 4), 0xD3: ("signed", 8),
    0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4),
    0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip
# (kind, first byte, last byte) where the length or the number is part of the first byte.
SHORT = (
    ("unsigned", 0x00, 0x7F), ("map", 0x80, 0x8F), ("list", 0x90, 0x9F), ("text", 0xA0, 0xBF),
    ("extension", 0xD4, 0xD8), ("signed", 0xE0, 0xFF),
)  # fmt: skip


class MessagePackFile(MappedFile):
    """The arrays of one file by their paths, `params/trunk/...`; see `MappedFile`.

    MessagePack aligns nothing, so reading an array copies it.
    """

    def _read_places(self, _: BinaryIO) -> tuple[dict[str, TensorEntry], dict[str, str]]:
        return read_places(self._bytes, str(self.path)), {}


def read_places(data: bytes | mmap.mmap, where: str) -> dict[str, TensorEntry]:
    """The places of all arrays of a MessagePack tree, by path; CheckpointError beginning with `where` otherwise."""
    walk = _Walk(data, where)
    kind, count = walk.head()
    if kind != "map":
        raise walk.error(f"begins with a {kind}; expected a map of names to arrays")
    walk.map("", count, 0)
    if walk.at != len(data):
        raise walk.error(f"has {len(data) - walk.at} bytes too many")
    return walk.entries


class _Walk:
    """One pass over the bytes, from `at` up to `end`."""

    def __init__(self, data: bytes | mmap.mmap, where: str) -> None:
        self.data, self.where = data, where
        self.at, self.end, self.items = 0, len(data), 0
        self.entries: dict[str, TensorEntry] = {}

    def error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.where} is no MessagePack file of a Flax model: it {problem}; fetch it again")

    def take(self, count: int) -> bytes:
        """The next bytes; never more than are there."""
        self.skip(count)
        return self.data[self.at - count : self.at]

    def head(self) -> tuple[str, int]:
        """What comes next, with its length or its value."""
        self.items += 1
        if self.items > MAX_ITEMS:
            raise self.error(f"has more than {MAX_ITEMS} items")
        first = self.take(1)[0]
        for kind, low, high in SHORT:
            if low <= first <= high:
                return kind, 1 << (first - low) if kind == "extension" else first - low
        if first not in HEADS:
            raise self.error(f"has the byte {first:#x} at {self.at - 1}, which means nothing")
        kind, width = HEADS[first]
        return kind, int.from_bytes(self.take(width), "big", signed=kind == "signed")

    def text(self, count: int) -> str:
        if count > MAX_NAME:
            raise self.error(f"has a name of {count} bytes; expected at most {MAX_NAME}")
        try:
            return self.take(count).decode()
        except UnicodeDecodeError:
            raise self.error(f"has a name before byte {self.at} that is not UTF-8") from None

    def map(self, path: str, count: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.error(f"is nested deeper than {MAX_DEPTH} levels")
        seen: set[str] = set()
        for _ in range(count):
            kind, length = self.head()
            key = self.text(length) if kind == "text" else f"({kind})"
            if kind != "text" or not key or "/" in key or key in seen:
                raise self.error(
                    f"has the key {quoted(key)} in {quoted(path)}; expected names, each once, without a slash"
                )
            if key == CHUNKED:
                raise self.error(f"keeps {path!r:.200} in chunks, as arrays over 1 GiB are; that is not supported")
            seen.add(key)
            self.value(self.join(path, key), depth)

    def join(self, path: str, key: str) -> str:
        """The path of `key` below `path`; bounded, since every array keeps its own."""
        if len(path) + len(key) > MAX_NAME:
            raise self.error(f"has names below {path!r:.80} that are longer than {MAX_NAME} in all")
        return f"{path}/{key}" if path else key

    def value(self, path: str, depth: int) -> None:
        """Whatever is at `path`: maps are walked through, arrays noted, anything else passed over."""
        kind, length = self.head()
        if kind == "map":
            self.map(path, length, depth + 1)
        elif kind == "list":
            if depth > MAX_DEPTH:
                raise self.error(f"is nested deeper than {MAX_DEPTH} levels")
            for number in range(length):
                self.value(self.join(path, str(number)), depth + 1)
        elif kind == "extension":
            if self.take(1)[0] in ARRAYS:
                self.entries[path] = self.array(path, length)
            else:
                self.skip(length)
        elif kind in ("text", "bytes"):
            self.skip(length)

    def skip(self, count: int) -> None:
        if count > self.end - self.at:
            raise self.error(f"asks for {count} bytes at byte {self.at}, where {self.end - self.at} are left")
        self.at += count

    def array(self, path: str, length: int) -> TensorEntry:
        """The array in an extension of `length` bytes, all of which it has to take."""
        outer, start = self.end, self.at
        self.skip(length)
        self.at, self.end = start, start + length
        if self.head() != ("list", 3):
            raise self.error(f"has an array at {path!r:.200} that is no [shape, dtype, bytes]")
        shape = self.shape(path)
        kind, count = self.head()
        name = self.text(count) if kind == "text" else kind
        if name not in CODES:
            raise self.error(f"has an array of dtype {name!r:.40} at {path!r:.200}; expected one of {', '.join(CODES)}")
        kind, count = self.head()
        if kind != "bytes" or count != self.end - self.at or math.prod(shape) * BITS[CODES[name]] != 8 * count:
            raise self.error(
                f"has at {path!r:.200} an array of dtype {name} and shape {shape} in {count} bytes, which do not agree"
            )
        entry = TensorEntry(CODES[name], shape, self.at, self.end)
        self.at, self.end = self.end, outer
        return entry

    def shape(self, path: str) -> tuple[int, ...]:
        kind, dimensions = self.head()
        if kind != "list" or dimensions > MAX_DIMENSIONS:
            raise self.error(f"has an array without a shape of at most {MAX_DIMENSIONS} sizes at {path!r:.200}")
        heads = [self.head() for _ in range(dimensions)]
        sizes = tuple(size for kind, size in heads if kind == "unsigned")
        # As in a safetensors header: NumPy multiplies the sizes of an empty array too, all but the zeros.
        if len(sizes) < dimensions or math.prod(size for size in sizes if size) > MAX_BYTES // 8:
            raise self.error(f"has an array of a shape that none can have at {path!r:.200}")
        return sizes
