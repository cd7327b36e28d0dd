"""aimv2_np/storage/formats/header.py"""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from aimv2_np.backends.dtypes import BITS
from aimv2_np.errors import CheckpointError
from aimv2_np.files.json import MAX_JSON_BYTES
from aimv2_np.storage.formats.header import read_header
from tests.support.safetensors_bytes import entry, file_bytes

GOOD = {"a": entry("F32", [2, 3], 0), "b": entry("BF16", [4], 24)}
DATA = bytes(32)


def parse(content):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "here.safetensors"
        path.write_bytes(content)
        with path.open("rb") as file:
            return read_header(file, path)


def test_a_header_says_where_each_tensor_lies():
    content = file_bytes({"__metadata__": {"format": "pt"}, **GOOD}, DATA)
    entries, metadata = parse(content)
    data = len(content) - 32
    assert metadata == {"format": "pt"}
    assert entries["a"].shape == (2, 3)
    assert (entries["a"].start, entries["a"].stop) == (data, data + 24)
    assert (entries["b"].dtype, entries["b"].start, entries["b"].stop) == ("BF16", data + 24, data + 32)


def test_empty_and_scalar_tensors_have_their_place():
    header = {"e": entry("F32", [0, 3], 4), "s": entry("F32", [], 0), "f": entry("F32", [0], 0)}
    entries, _ = parse(file_bytes(header, bytes(4)))
    assert entries["s"].shape == ()
    assert entries["e"].start == entries["e"].stop
    assert parse(file_bytes({}, b"")) == ({}, {})


def changed(**changes):
    return {**GOOD, "a": {**GOOD["a"], **changes}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b"\x01\x00\x00", "truncated"),
        ((2**63).to_bytes(8, "little") + b"{}", "truncated"),
        ((3).to_bytes(8, "little") + b"{}", "truncated"),
        ((MAX_JSON_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_JSON_BYTES + 1), "expected at most"),
        (file_bytes(b"nonsense", b""), "not valid JSON"),
        (file_bytes(b"[1]", b""), "expected an object"),
        (file_bytes(b"[" * 50_000, b""), "nested too deeply"),
        (file_bytes(b'{"a": {}, "a": {}}', b""), "occurs twice"),
        (file_bytes(b'{"a": {"dtype": "F32", "dtype": "F32"}}', b""), "occurs twice"),
        (file_bytes({"__metadata__": {"format": 3}}, b""), "does not fit its .* bytes"),
        (file_bytes({"__metadata__": ["pt"]}, b""), "does not fit its .* bytes"),
        (file_bytes({"a": 3}, b""), "invalid type"),
        (file_bytes({"a": {"dtype": "F32", "shape": [1]}}, b""), "missing field"),
        (file_bytes(changed(more=1), DATA), "expected dtype, shape and data_offsets"),
        (file_bytes(changed(dtype="F31"), DATA), "unknown variant `F31`"),
        (file_bytes(changed(dtype=["F32"]), DATA), "does not fit"),
        (file_bytes(changed(shape=[-2, -3]), DATA), "invalid value"),
        (file_bytes(changed(shape=[2.0, 3]), DATA), "invalid type"),
        (file_bytes(changed(shape=[True, 6]), DATA), "invalid type"),
        (file_bytes(changed(shape="23"), DATA), "invalid type"),
        (file_bytes(changed(shape=6), DATA), "invalid type"),
        (file_bytes(changed(shape=[1] * 33 + [6]), DATA), "has the shape"),
        (file_bytes(changed(shape=[2, 4]), DATA), "invalid shape, data type, or offset"),
        # 2**62 · 4 · 4 bytes is 0 modulo 2**64, and 2**32 · 2**32 · 4 is too
        (file_bytes({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}, b""), "overflow"),
        (
            file_bytes({"a": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}, b""),
            "overflow",
        ),
        (file_bytes({"a": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, b""), "has the shape"),
        (file_bytes({"a": {"dtype": "F32", "shape": [2**64], "data_offsets": [0, 0]}}, b""), "does not fit"),
        (file_bytes(changed(data_offsets=[0]), DATA), "does not fit"),
        (file_bytes(changed(data_offsets=[24, 0]), DATA), "does not fit"),
        (file_bytes(changed(data_offsets=[-24, 0]), DATA), "does not fit"),
        (file_bytes(changed(data_offsets=[0.0, 24]), DATA), "does not fit"),
        (file_bytes(changed(data_offsets={"0": 24}), DATA), "does not fit"),
        (file_bytes({"a": entry("F32", [2], 4)}, bytes(12)), "invalid offset for tensor"),
        (file_bytes({"a": entry("F32", [2], 0), "b": entry("F32", [2], 4)}, bytes(12)), "invalid offset for tensor"),
        (file_bytes({"a": entry("F32", [2], 0), "b": entry("F32", [2], 0)}, bytes(8)), "invalid offset for tensor"),
        (file_bytes({"a": entry("F32", [2], 0), "b": entry("F32", [2], 12)}, bytes(20)), "invalid offset for tensor"),
        (file_bytes(GOOD, DATA[:-1]), "truncated or damaged"),
        (file_bytes(GOOD, DATA + b"x"), "not fully covered"),
        (file_bytes({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, b"\0"), "byte boundary"),
    ],
)
def test_whatever_does_not_fit_is_one_error_naming_the_file(content, message):
    with pytest.raises(CheckpointError, match=message) as raised:
        parse(content)
    assert "here.safetensors" in str(raised.value)
    assert len(str(raised.value)) < 600


@given(
    arrays=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from(["f2", "f4", "f8", "i8", "u1", "?"]), st.lists(st.integers(0, 4), max_size=3).map(tuple)
        ),
        max_size=6,
    )
)
def test_whatever_the_library_writes_is_accepted(arrays):
    content = save({name: np.zeros(shape, dtype) for name, (dtype, shape) in arrays.items()}, {"format": "np"})
    entries, metadata = parse(content)
    assert {name: item.shape for name, item in entries.items()} == {name: shape for name, (_, shape) in arrays.items()}
    assert metadata == {"format": "np"}


@given(data=st.data())
def test_a_damaged_file_is_refused_or_still_consistent(data):
    """Some bytes replaced, removed or inserted: never another exception, never a tensor outside of the file."""
    content = bytearray(file_bytes({"__metadata__": {"format": "pt"}, **GOOD}, DATA))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["replace", "remove", "insert"]))
        if how != "insert":
            del content[place : place + data.draw(st.integers(1, 3))]
        if how != "remove":
            content[place:place] = data.draw(
                st.binary(min_size=1, max_size=3) | st.sampled_from([b"9", b"-", b"[", b'"'])
            )
    check_consistent(bytes(content))


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats()
    | st.sampled_from(sorted(BITS))
    | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=5,
)
SIZE = st.integers(0, 5) | st.integers(-1, 2**66) | JUNK
DESCRIPTION = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(sorted(BITS)) | JUNK,
        "shape": st.lists(SIZE, max_size=3) | JUNK,
        "data_offsets": st.lists(SIZE, min_size=2, max_size=2) | JUNK,
    }
)


@given(
    header=st.dictionaries(st.text(max_size=3) | st.just("__metadata__"), DESCRIPTION | JUNK, max_size=3),
    size=st.integers(0, 64),
)
def test_an_invented_header_is_refused_or_consistent(header, size):
    check_consistent(file_bytes(json.dumps(header).encode(), bytes(size)))


def check_consistent(content):
    try:
        entries, metadata = parse(content)
    except CheckpointError:
        return
    assert all(isinstance(item, str) for item in metadata.values())
    for item in entries.values():
        assert 8 <= item.start <= item.stop <= len(content)
        assert 8 * (item.stop - item.start) == math.prod(item.shape) * BITS[item.dtype]
    assert sum(item.stop - item.start for item in entries.values()) == len(content) - 8 - int.from_bytes(
        content[:8], "little"
    )
