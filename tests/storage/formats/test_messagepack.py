"""aimv2_np/storage/formats/messagepack.py: what Flax writes is read, and nothing else does any harm."""

from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.errors import CheckpointError
from aimv2_np.storage import open_checkpoint
from aimv2_np.storage.formats.messagepack import MAX_DEPTH, MAX_ITEMS, MAX_NAME, MessagePackFile, read_places
from tests.support.layouts import FILES, folder_of
from tests.support.paths import FIXTURES


def array(value, code=1, dtype=None):
    """An array as Flax packs it."""
    value = np.asarray(value)
    return msgpack.ExtType(code, msgpack.packb((value.shape, dtype or value.dtype.name, value.tobytes())))


def pack(value):
    return msgpack.packb(value)


def numbers(data, entry, kind="<f4"):
    return np.frombuffer(data, kind, offset=entry.start, count=(entry.stop - entry.start) // np.dtype(kind).itemsize)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=20), st.integers(0, 300)
    ),
    st.sampled_from(["float32", "float16", "float64", "uint8", "int64"]),
)
def test_arrays_of_every_size_are_where_msgpack_put_them(sizes, dtype):
    state = {name: np.arange(size).astype(dtype).reshape(-1, 1) for name, size in sizes.items()}
    data = pack({"params": {name: array(value) for name, value in state.items()}, "step": 3})
    entries = read_places(data, "here")
    assert set(entries) == {f"params/{name}" for name in state}
    for name, value in state.items():
        entry = entries[f"params/{name}"]
        assert entry.shape == value.shape
        assert data[entry.start : entry.stop] == value.tobytes()


def test_what_is_no_array_is_passed_over():
    rest = {
        "none": None, "yes": True, "no": False, "negative": -5, "large": 2**40, "float": 0.5, "text": "x" * 70_000,
        "bytes": b"y" * 300, "list": [1, [2, "3"], {"deep": array(np.ones(2, "f4"))}],
        "date": msgpack.ExtType(5, b"abcd"),
    }  # fmt: skip
    data = pack({**rest, "last": array(np.arange(3, dtype="f4"))})
    entries = read_places(data, "here")
    assert list(entries) == ["list/2/deep", "last"]
    np.testing.assert_array_equal(numbers(data, entries["last"]), [0, 1, 2])


def test_scalars_and_bfloat16():
    half = msgpack.ExtType(1, msgpack.packb(((2,), "bfloat16", b"\x80\x3f\x00\x40")))
    data = pack({"scalar": array(np.float32(2.5), code=3), "half": half, "none": array(np.zeros((0, 3), "f4"))})
    entries = read_places(data, "here")
    assert {name: (entry.dtype, entry.shape) for name, entry in entries.items()} == {
        "scalar": ("F32", ()), "half": ("BF16", (2,)), "none": ("F32", (0, 3)),
    }  # fmt: skip


def test_a_file(tmp_path):
    folder = folder_of(tmp_path, "apple-lit", "flax")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.shapes["params/image_encoder/preprocessor/patchifier/proj/kernel"] == (7, 7, 3, 32)
    assert checkpoint.shapes["params/log_logit_scale"] == ()
    assert checkpoint.dtypes["batch_stats/head/bn/var"] == "F64"
    assert checkpoint.read("batch_stats/head/bn/var", "float64") == 1.0
    reader = msgpack.unpackb((folder / FILES["flax"]).read_bytes(), ext_hook=lambda _, data: msgpack.unpackb(data))
    shape, dtype, raw = reader["params"]["text_encoder"]["trunk"]["layers_1"]["mlp"]["fc3"]["kernel"]
    kernel = checkpoint.read("params/text_encoder/trunk/layers_1/mlp/fc3/kernel")
    np.testing.assert_array_equal(kernel, np.frombuffer(raw, dtype).reshape(shape))
    assert kernel.flags.aligned
    assert not kernel.flags.writeable


def nested(depth):
    value = {"x": 1}
    for _ in range(depth):
        value = {"x": value}
    return pack(value)


BAD = {
    "empty": (b"", "asks for 1 bytes"),
    "a list": (pack([1]), "begins with a list"),
    "a number": (pack(3), "begins with a unsigned"),
    "an unknown byte": (b"\x81\xa1x\xc1", "means nothing"),
    "bytes after the end": (pack({"a": 1}) + b"\0", "1 bytes too many"),
    "a map of four thousand million": (b"\xdf\xff\xff\xff\xff", "asks for 1 bytes"),
    "a list of four thousand million": (b"\x81\xa1x\xdd\xff\xff\xff\xff", "asks for 1 bytes"),
    "a text of four gigabytes": (b"\x81\xa1x\xdb\xff\xff\xff\xff", "asks for 4294967295 bytes"),
    "bytes of four gigabytes": (b"\x81\xa1x\xc6\xff\xff\xff\xff", "asks for 4294967295 bytes"),
    "an extension of four gigabytes": (b"\x81\xa1x\xc9\xff\xff\xff\xff\x01", "asks for 4294967295 bytes"),
    "deep maps": (nested(MAX_DEPTH + 2), "nested deeper"),
    "deep lists": (b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0", "nested deeper"),
    "many items": (b"\x81\xa1x\xdd" + (MAX_ITEMS + 9).to_bytes(4, "big") + b"\xc0" * (MAX_ITEMS + 9), "more than"),
    "a long name": (pack({"x" * (MAX_NAME + 1): 1}), "a name of"),
    "a long path": (pack({"x" * 390: {"y" * 11: 1}}), "longer than"),
    "no UTF-8": (b"\x81\xa1\xff\xc0", "not UTF-8"),
    "a name that is a number": (pack({3: 4}), "has the key '\\(unsigned\\)'"),
    "an empty name": (pack({"": 4}), "has the key ''"),
    "a name with a slash": (pack({"a/b": 4}), "has the key 'a/b'"),
    "a name twice": (b"\x82\xa1x\xc0\xa1x\xc0", "has the key 'x'"),
    "chunks": (pack({"x": {"__msgpack_chunked_array__": True}}), "in chunks"),
    "an array that is a number": (pack({"x": msgpack.ExtType(1, b"\x01\x01")}), "no \\[shape"),
    "an array of two": (pack({"x": msgpack.ExtType(1, msgpack.packb([[], b""]))}), "no \\[shape"),
    "another dtype": (pack({"x": array(np.zeros(2, "f4"), dtype="float8")}), "dtype 'float8'"),
    "no shape": (pack({"x": msgpack.ExtType(1, msgpack.packb([1, "float32", b"0000"]))}), "without a shape"),
    "a negative size": (pack({"x": msgpack.ExtType(1, msgpack.packb([[-1], "float32", b"0000"]))}), "shape that none"),
    "a huge size": (pack({"x": msgpack.ExtType(1, msgpack.packb([[2**62, 0, 2**62], "float32", b""]))}), "that none"),
    "too few bytes": (pack({"x": msgpack.ExtType(1, msgpack.packb([[2], "float32", b"0000"]))}), "do not agree"),
    "too many bytes": (pack({"x": msgpack.ExtType(1, msgpack.packb([[1], "float32", b"00000000"]))}), "do not agree"),
    "bytes after an array": (pack({"x": msgpack.ExtType(1, msgpack.packb([[1], "float32", b"0000"]) + b"1")}), "agree"),
    "an array that ends early": (
        pack({"x": msgpack.ExtType(1, msgpack.packb([[1], "float32", b"0000"])[:-1])}),
        "agree",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused(tmp_path, case):
    data, message = BAD[case]
    with pytest.raises(CheckpointError, match=f"^here is no MessagePack file of a Flax model: .*{message}"):
        read_places(data, "here")
    (tmp_path / "flax_model.msgpack").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"flax_model\.msgpack"):
        MessagePackFile(tmp_path / "flax_model.msgpack")


GOOD = (FIXTURES / "apple-native" / FILES["flax"]).read_bytes()


@given(st.data())
def test_any_damage_is_noticed_or_leaves_every_array_inside_the_file(data):
    bad = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        bad[data.draw(st.integers(0, 2000))] = data.draw(st.integers(0, 255))
    bad = bytes(bad[: data.draw(st.sampled_from([len(bad), len(bad) // 2, 100]))])
    try:
        entries = read_places(bad, "here")
    except CheckpointError:
        return
    for entry in entries.values():
        assert 0 <= entry.start <= entry.stop <= len(bad)


@given(st.binary(max_size=200))
def test_any_bytes(data):
    with suppress(CheckpointError):
        assert all(entry.stop <= len(data) for entry in read_places(data, "here").values())


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        MessagePackFile(tmp_path / "none")
