"""Flax's MessagePack files."""

import msgpack
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.backends.dtypes import CODES
from aimv2_np.storage.formats.messagepack import ARRAYS
from tests.support.hostile.mutations import INTEGERS, TEXTS, cases, damaged_bytes, few
from tests.support.hostile.samples import FIXTURES
from tests.support.hostile.watch import Link, read

NAME = "flax_model.msgpack"


def array(shape, dtype, data, code=1):
    return msgpack.ExtType(code, msgpack.packb([shape, dtype, data]))


TREE = {
    "params": {
        "trunk": {
            "layers_0": {
                "kernel": array([2, 3], "float32", bytes(range(24))),
                "bias": array([3], "bfloat16", b"\0" * 6),
            }
        },
        "scale": array([], "float64", b"\0" * 8, 3),
        "list": [array([1], "uint8", b"x"), 1, None, "text", b"bytes"],
    },
    "step": 7,
}
SOUND = msgpack.packb(TREE)

numbers = st.sampled_from([n for n in INTEGERS if 0 <= n < 2**64]) | st.integers(0, 5)
scalars = st.none() | st.booleans() | numbers | st.floats() | st.binary(max_size=9) | st.text(max_size=5)
arrays = st.builds(
    array,
    st.lists(numbers | st.integers(-3, 3), max_size=4) | st.just([1] * 40) | scalars,
    st.sampled_from([*CODES, "object", "float8", ""]) | scalars,
    st.binary(max_size=24) | scalars,
    st.sampled_from((*ARRAYS, 2, 0, 127)),
)
keys = st.sampled_from(
    [
        "a",
        "b",
        "params",
        "__msgpack_chunked_array__",
        "x/y",
        "",
        *(t for t in TEXTS if "\ud800" not in t and "\udc00" not in t),
    ]
)
trees = st.recursive(
    arrays | scalars,
    lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=4),
    max_leaves=12,
)


def extension(code, data):
    """What Flax's own reader makes of an extension: the array, as its parts."""
    if code not in ARRAYS:
        return None
    shape, dtype, raw = msgpack.unpackb(data, raw=True)
    return np.array([tuple(shape), dtype.decode(), bytes(raw)], dtype=object)


def leaves(tree, path=()):
    """The arrays of a tree by path, as Flax flattens it."""
    if isinstance(tree, np.ndarray):
        shape, dtype, raw = tree
        return {"/".join(path): (CODES[dtype], shape, raw)}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = {}
    for key, item in items:
        found |= leaves(item, (*path, key.decode() if isinstance(key, bytes) else str(key)))
    return found


def check(content):
    """What is read is what the msgpack library reads."""
    outcome = read("messagepack", {NAME: content})
    if outcome.error is not None:
        return
    theirs = leaves(msgpack.unpackb(content, ext_hook=extension, raw=True, strict_map_key=False, timestamp=0))
    places, stored = outcome.value
    assert {name: (dtype, shape) for name, (dtype, shape, _) in theirs.items()} == places
    assert all(theirs[name][2] == data for name, (_, _, data) in stored.items())


@cases(120)
@given(damaged_bytes(SOUND))
def test_damaged_bytes(content):
    check(content)


@cases(100)
@given(st.dictionaries(keys, trees, max_size=4).map(msgpack.packb))
def test_trees_of_all_kinds(content):
    check(content)


@cases(30)
@given(st.dictionaries(keys, trees, max_size=3).map(msgpack.packb).flatmap(damaged_bytes))
def test_damaged_trees(content):
    check(content)


@cases(20)
@given(st.binary(max_size=80))
def test_nonsense(content):
    check(content)


@cases(30)
@given(st.data())
def test_checkpoints_with_damaged_weights(data):
    folder = FIXTURES / "apple-native"
    sound = (folder / NAME).read_bytes()
    cut = data.draw(st.integers(0, 4000))
    content = data.draw(damaged_bytes(sound[cut : cut + 500]))
    files = {NAME: sound[:cut] + content + sound[cut + 500 :], "config.json": (folder / "config.json").read_bytes()}
    read("model", files, kind="messagepack")


LARGE = {
    "maps": b"\xdf\x00\x00\x00\x01\xa1a\xdd\x00\x02\x00\x00" + b"\x80" * 2**17,
    "names": b"\xde\xff\xff" + b"".join(b"\xa6%06d\x01" % number for number in range(2**16 - 1)),
    "long names": b"\xde\xff\xff" + b"".join(b"\xda\x01\x80%0384d\x01" % number for number in range(2**16 - 1)),
    "nested": b"\x81\xa1a" * 2**16,
    "lists": b"\x81\xa1a" + b"\x91" * 2**16,
    "promises": b"\xdf\xff\xff\xff\xff" + b"\xa1a\xdd\xff\xff\xff\xff",
    "arrays": b"\xde\xff\xff"
    + b"".join(b"\xa5%05d\xc7\x0c\x01\x93\x91\x00\xa7float32\xc4\x00"[:-1] % number for number in range(2**15)),
}


@few(5)
@given(st.sampled_from(sorted(LARGE)))
def test_files_of_as_many_items_as_may_be(which):
    check(LARGE[which])


def test_a_link_out_of_the_folder():
    outcome = read("checkpoint", {NAME: Link("../secret")}, outside={"secret": SOUND}, kind="messagepack")
    assert outcome.error == "CheckpointError"
