"""Safetensors files: the field of the length, headers of any content, places that overlap or lie outside."""

import json
import math

import safetensors
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.backends.dtypes import BITS
from aimv2_np.files.json import MAX_JSON_BYTES
from tests.support.hostile.mutations import (
    INTEGERS,
    TEXTS,
    Pairs,
    Raw,
    cases,
    damaged_bytes,
    damaged_documents,
    few,
    values,
)
from tests.support.hostile.samples import checkpoint, put_together, taken_apart
from tests.support.hostile.watch import Link, read
from tests.support.safetensors_bytes import entry

SOUND = {
    "__metadata__": {"format": "pt"},
    "a": entry("F32", [2, 3], 0),
    "b": entry("BF16", [4], 24),
    "c": entry("I64", [], 32),
    "d": entry("F16", [0, 5], 40),
    "e": entry("U8", [8], 40),
}
DATA = bytes(range(32)) + b"\x00\x00\x80\x7f" + bytes(12)
dtypes = st.sampled_from([*BITS, "f32", "F128", "", "BF16 "])
sizes = st.sampled_from([*INTEGERS, 2**31 // 4, 2**60, 2**61]) | st.integers(0, 9)
described = st.fixed_dictionaries({
    "dtype": dtypes, "shape": st.lists(sizes, max_size=5), "data_offsets": st.lists(sizes, min_size=1, max_size=3)
})  # fmt: skip
shapes = st.lists(st.integers(0, 3), max_size=3)
lengths = st.sampled_from([n for n in (*INTEGERS, 100, MAX_JSON_BYTES, MAX_JSON_BYTES + 1) if 0 <= n < 2**64])
headers = damaged_documents(SOUND, dtypes | st.lists(sizes, max_size=5) | described)


def check(content):
    """What is read is what the format's own library reads; whether anything is."""
    outcome = read("safetensors", {"model.safetensors": content})
    if outcome.error is not None:
        return False
    places, metadata, arrays = outcome.value
    theirs = dict(safetensors.deserialize(content))
    length = int.from_bytes(content[:8], "little")
    assert metadata == (json.loads(content[8 : 8 + length]).get("__metadata__") or {})
    assert {name: (it["dtype"], tuple(it["shape"])) for name, it in theirs.items()} == places
    assert all(bytes(theirs[name]["data"]) == data for name, (_, _, data) in arrays.items())
    return True


@cases(120)
@given(headers, damaged_bytes(DATA) | st.just(DATA))
def test_headers_damaged_in_their_structure(header, data):
    check(put_together(header, data))


@cases(60)
@given(headers | st.just(SOUND), lengths | st.integers(0, 400))
def test_lengths_of_the_header(header, length):
    check(put_together(header, DATA, length))


@cases(60)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "", "c.d"]), described), max_size=5), st.integers(0, 40))
def test_shapes_and_offsets_of_all_sizes_and_double_names(tensors, count):
    check(put_together(Pairs(tensors), bytes(count)))


@st.composite
def sound_files(draw):
    """Tensors one after the other, listed in any order."""
    header, at = {}, 0
    for name in draw(st.lists(st.text(max_size=5), unique=True, max_size=6)):
        dtype, shape = (
            draw(st.sampled_from(["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64"])),
            draw(shapes),
        )
        size = math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header.pop("__metadata__", None)
    metadata = draw(st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
    order = draw(st.permutations(list(header)))
    named = {} if metadata is None else {"__metadata__": metadata}
    return put_together({**named, **{name: header[name] for name in order}}, draw(st.binary(min_size=at, max_size=at)))


@cases(80)
@given(sound_files())
def test_sound_files_are_read(content):
    assert check(content)


@cases(80)
@given(damaged_bytes(put_together(SOUND, DATA)))
def test_damaged_bytes(content):
    check(content)


@cases(20)
@given(values | st.dictionaries(st.sampled_from(TEXTS), described, max_size=3))
def test_headers_of_any_json(header):
    check(put_together(header, DATA))


@cases(20)
@given(st.binary(max_size=100))
def test_nonsense(content):
    check(content)


LARGE = {
    "lists": b'{"a":[' + b"[]," * (MAX_JSON_BYTES // 3 - 4) + b"1]}",
    "objects": b'{"__metadata__":[' + b"{}," * (MAX_JSON_BYTES // 3 - 8) + b"1]}",
    "tensors": b"{%s}"
    % b",".join(b'"%07d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(MAX_JSON_BYTES // 61)),
    "spaces": b"{}" + b" " * (MAX_JSON_BYTES - 2),
    "one name": b'{"%s":1}' % (b"x" * (MAX_JSON_BYTES - 6)),
    "one wide name": b'{"%s":1}' % ("\U0001f642".encode() * (MAX_JSON_BYTES // 4 - 3)),
}


@few(6)
@given(st.sampled_from(sorted(LARGE)), st.sampled_from(["safetensors", "checkpoint"]))
def test_headers_as_large_as_they_may_be(content, reader):
    content = put_together(Raw(LARGE[content].decode()), b"")
    read(reader, {"model.safetensors": content}, kind="safetensors")


@cases(60)
@given(st.data())
def test_checkpoints_of_a_damaged_header(data):
    header, numbers = taken_apart(checkpoint()["model.safetensors"])
    content = put_together(data.draw(damaged_documents(header, described)), numbers)
    outcome = read("model", {**checkpoint(), "model.safetensors": content})
    if outcome.error is None:
        theirs = dict(safetensors.deserialize(content))
        _, state = outcome.value
        assert all(bytes(theirs[name]["data"]) == numbers for name, numbers in state.items())


def test_a_link_out_of_the_folder():
    outside = {"secret": checkpoint()["model.safetensors"]}
    outcome = read("checkpoint", {"model.safetensors": Link("../secret")}, outside=outside)
    assert outcome.error == "CheckpointError"
