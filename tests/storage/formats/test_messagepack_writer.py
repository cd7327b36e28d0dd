"""aimv2_np/storage/formats/messagepack_writer.py: byte for byte what msgpack, and Flax, would write."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.storage.formats.lazy import Lazy
from aimv2_np.storage.formats.messagepack import read_places
from aimv2_np.storage.formats.messagepack_writer import CHUNK, head, save_messagepack

EDGES = st.integers(0, 2**32 - 1) | st.sampled_from([15, 16, 31, 32, 127, 128, 255, 256, 65535, 65536])


def lazy(value):
    codes = {"float32": "F32", "float64": "F64", "float16": "F16"}
    return Lazy(codes[value.dtype.name], value.shape, lambda: value)


@given(EDGES)
def test_heads_are_msgpacks(value):
    packer = msgpack.Packer(autoreset=False)
    packer.pack_array_header(value)
    packer.pack_map_header(value)
    packer.pack(value)
    assert head("list", value) + head("map", value) + head("unsigned", value) == packer.bytes()


@pytest.mark.parametrize("length", [0, 1, 31, 32, 255, 256, 65535, 65536])
def test_texts_and_bytes_are_msgpacks(length):
    assert head("text", length) == msgpack.packb("x" * length)[: -length or None]
    assert head("bytes", length) == msgpack.packb(b"x" * length)[: -length or None]


@given(st.lists(st.integers(0, 5), max_size=4), st.sampled_from(["float32", "float64", "float16"]))
def test_arrays_are_flaxs(tmp_path_factory, shape, dtype):
    value = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    path = tmp_path_factory.mktemp("flax") / "x.msgpack"
    save_messagepack(path, {"b/z": lazy(value), "b/é": lazy(value), "a": lazy(value.T)})

    def packed(value):
        return msgpack.ExtType(1, msgpack.packb((value.shape, value.dtype.name, value.tobytes())))

    expected = {"a": packed(value.T), "b": {"z": packed(value), "é": packed(value)}}
    assert path.read_bytes() == msgpack.packb(expected)
    assert set(read_places(path.read_bytes(), "here")) == {"a", "b/z", "b/é"}


def test_what_flax_would_split_is_refused_before_anything_is_written(tmp_path):
    large = Lazy("U8", (CHUNK + 1,), lambda: pytest.fail("made although it cannot be written"))
    with pytest.raises(ValueError, match="x is larger than 1 GiB"):
        save_messagepack(tmp_path / "x.msgpack", {"x": large})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays(tmp_path):
    (tmp_path / "x.msgpack").write_bytes(b"old")
    state = {"x": lazy(np.ones(3, "f4"))}
    with pytest.raises(FileExistsError):
        save_messagepack(tmp_path / "x.msgpack", state)
    save_messagepack(tmp_path / "x.msgpack", state, overwrite=True)
    assert list(read_places((tmp_path / "x.msgpack").read_bytes(), "here")) == ["x"]
