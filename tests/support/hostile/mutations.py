"""Strategies that damage what is sound: JSON documents in their structure, bytes anywhere, numbers at their edges."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]


def cases(share: int) -> Any:
    """`share` cases of the 2,000 and more of an ordinary run; forty times as many with --hypothesis-profile=long."""
    return settings(max_examples=share * settings.default.max_examples // 100)


def few(count: int) -> Any:
    """`count` cases in every run, of the costly ones."""
    return settings(max_examples=count)


class Raw(str):
    """JSON that is written as it stands, valid or not."""


class Pairs(list[tuple[str, Any]]):
    """An object as a list of its members, of which two may have one key."""


def emit(value: Any) -> str:
    """`value` as JSON, as Python writes it (NaN and Infinity included), with `Raw` and `Pairs` in it."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {emit(item)}" for key, item in value) + "}"
    if isinstance(value, Mapping):
        return emit(Pairs(value.items()))
    if isinstance(value, list | tuple):
        texts = {id(item): item for item in value}  # many a list is one item many times
        texts = {key: emit(item) for key, item in texts.items()}
        return "[" + ", ".join(texts[id(item)] for item in value) + "]"
    return json.dumps(value)


INTEGERS = (
    0,
    -1,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    64,
    255,
    2**12,
    2**12 + 1,
    2**16,
    2**20,
    2**20 + 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    10**400,
)
NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e-400",
    "-0.0",
    "0.5",
    "1.0",
    "1e308",
    "1e-30",
    "1e-31",
    "0x10",
    "01",
    "1_000",
    "9" * 4301,
    "1e999999999",
    "+1",
    ".5",
)
TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[2J\x1b[31m",
    "\r\n",
    "\ud800",
    "\udc00x",
    "\u202e",
    "\u2028",
    "..",
    "../secret",
    "/etc/passwd",
    "a/b",
    "C:\\x",
    "~",
    "%s%n",
    "{0}",
    "null",
    "aimv2",
    "aimv2_vision_model",
    "silu",
    "float32",
    "x" * 300,
    "y" * 100_000,
    "\x1b]0;" + "z" * 2000,
    "é" * 3000,
)
DEPTHS = (2, 10, 62, 63, 64, 65, 66, 200, 990, 1100, 100_000)


def _nested(depth: int) -> Raw:
    return Raw("[" * depth + "]" * depth)


def _nested_objects(depth: int) -> Raw:
    return Raw('{"a":' * depth + "1" + "}" * depth)


NOTHING: st.SearchStrategy[Any] = st.nothing()
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(INTEGERS),
    st.integers(-10, 300),
    st.sampled_from(NUMBERS).map(Raw),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(TEXTS),
    st.text(max_size=12),
    st.sampled_from(DEPTHS).map(_nested),
    st.sampled_from(DEPTHS).map(_nested_objects),
    st.builds(
        lambda item, count: [item] * count, st.sampled_from([0, 2**63 - 1, "x", None]), st.sampled_from([33, 65, 9999])
    ),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(TEXTS) | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=6,
)


def _path(draw: Draw, document: Any) -> tuple[Any, ...]:
    """The path of a value in a document; each container on the way gives all its members the same chance."""
    path: tuple[Any, ...] = ()
    while type(document) in (dict, list) and document and (not path or draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(document) - 1))
        key = list(document)[index] if isinstance(document, dict) else index
        path, document = (*path, key), document[key]
    return path


def _changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], Any]) -> Any:
    """A copy of a document with `change` made to the container that holds the value at `path`."""
    key = path[0]
    if len(path) == 1:
        return change(document, key)
    if isinstance(document, dict):
        return {**document, key: _changed(document[key], path[1:], change)}
    copy = list(document)
    copy[key] = _changed(copy[key], path[1:], change)
    return copy


def _replace(value: Any) -> Callable[[Any, Any], Any]:
    def change(container: Any, key: Any) -> Any:
        if isinstance(container, dict):
            return {**container, key: value}
        return [value if index == key else item for index, item in enumerate(container)]

    return change


def _delete(container: Any, key: Any) -> Any:
    if isinstance(container, dict):
        return {name: item for name, item in container.items() if name != key}
    return [item for index, item in enumerate(container) if index != key]


def _double(container: Any, key: Any) -> Any:
    if isinstance(container, dict):
        return Pairs([*container.items(), (key, container[key])])
    return [*container, container[key]]


def _rename(name: str) -> Callable[[Any, Any], Any]:
    def change(container: Any, key: Any) -> Any:
        if isinstance(container, dict):
            return {name if old == key else old: item for old, item in container.items()}
        return container[::-1]

    return change


@cache
def _changes(extra: st.SearchStrategy[Any]) -> st.SearchStrategy[Callable[[Any, Any], Any]]:
    """What may happen to a member of a container; made once, since making strategies takes longer than drawing."""
    hostile = (values | extra).map(_replace)
    renamed = (st.sampled_from(TEXTS) | st.text(max_size=6)).map(_rename)
    return st.one_of(hostile, hostile, st.just(_delete), st.just(_double), renamed)


@st.composite
def damaged_documents(
    draw: Draw, document: dict[str, Any], extra: st.SearchStrategy[Any] = NOTHING, most: int = 3
) -> Any:
    """A document with up to `most` of its values replaced, deleted, doubled or renamed; `extra` adds to the values."""
    for _ in range(draw(st.integers(1, most))):
        path = _path(draw, document)
        if path:
            document = _changed(document, path, draw(_changes(extra)))
    return document


DAMAGES = st.sampled_from(("byte", "byte", "word", "delete", "insert", "repeat", "cut", "flip"))
ODD_BYTES = st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255)
WORDS = st.builds(
    lambda number, width, order: (number % 256**width).to_bytes(width, order),
    st.sampled_from([number for number in INTEGERS if 0 <= number < 2**64]),
    st.sampled_from((2, 4, 8)),
    st.sampled_from(("little", "big")),
)
STRETCHES, TIMES, INSERTIONS = st.integers(1, 64), st.sampled_from((1, 2, 100)), st.binary(max_size=32)


@st.composite
def damaged_bytes(draw: Draw, sound: bytes, most: int = 4) -> bytes:
    """Bytes with up to `most` of their stretches overwritten, removed, inserted, repeated or cut off."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(data)))
        kind = draw(DAMAGES)
        if kind == "byte":
            data[at : at + 1] = bytes([draw(ODD_BYTES)])
        elif kind == "word":
            word = draw(WORDS)
            data[at : at + len(word)] = word
        elif kind == "delete":
            del data[at : at + draw(STRETCHES)]
        elif kind == "insert":
            data[at:at] = draw(INSERTIONS)
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(STRETCHES)] * draw(TIMES)
        elif kind == "cut":
            del data[at:]
        elif data:
            data[at % len(data)] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def json_files(document: dict[str, Any], extra: st.SearchStrategy[Any] = NOTHING) -> st.SearchStrategy[bytes]:
    """JSON files: a sound document damaged in its structure or in its bytes, and nonsense."""
    sound = json.dumps(document).encode()
    return st.one_of(
        damaged_documents(document, extra).map(lambda value: emit(value).encode("utf-8", "surrogatepass")),
        damaged_documents(document, extra).map(lambda value: emit(value).encode("utf-8", "surrogatepass")),
        damaged_bytes(sound),
        values.map(lambda value: emit(value).encode("utf-8", "surrogatepass")),
        st.sampled_from([b"", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"null", b"{}" * 2, b"{", b'"', b"\x00" * 64]),
        st.binary(max_size=64),
    )
