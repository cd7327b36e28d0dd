"""aimv2_np/storage/formats/safetensors_file.py"""

import gc
import math
import os

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from aimv2_np.backends.dtypes import BITS, CODES, FLOATS
from aimv2_np.errors import CheckpointError
from aimv2_np.storage.formats.safetensors_file import SafetensorsFile
from tests.support.safetensors_bytes import entry, file_bytes


def mapping_under(array):
    """What an array's memory finally belongs to."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_what_is_stored_in_the_dtype_asked_for_is_not_copied(tmp_path, dtype):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    save_file({"x": values}, tmp_path / "x.safetensors")
    array = SafetensorsFile(tmp_path / "x.safetensors").read("x", dtype)
    assert type(array) is np.ndarray
    assert not isinstance(mapping_under(array), np.ndarray)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, values)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_arrays_outlive_the_file_object_and_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": np.arange(5, dtype="f4")}, path)
    array = SafetensorsFile(path).read("x")
    path.unlink()
    gc.collect()
    np.testing.assert_array_equal(array, np.arange(5))


@pytest.mark.parametrize("pad", range(8))
@pytest.mark.parametrize(
    ("dtype", "target"), [("F32", "float32"), ("F64", "float64"), ("F16", "float16"), ("F16", "float32")]
)
def test_any_length_of_the_header_gives_aligned_arrays(tmp_path, pad, dtype, target):
    values = np.array([1.5, -2, 3], {"F32": "<f4", "F64": "<f8", "F16": "<f2"}[dtype])
    path = tmp_path / "x.safetensors"
    path.write_bytes(file_bytes({"x": entry(dtype, [3], 0)}, values.tobytes(), pad))
    array = SafetensorsFile(path).read("x", target)
    assert array.flags.aligned
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, values)


def test_bfloat16_at_an_odd_offset(tmp_path):
    path = tmp_path / "x.safetensors"
    for pad in range(2):
        path.write_bytes(file_bytes({"x": entry("BF16", [1, 2], 0)}, bytes([0x80, 0x3F, 0x00, 0xC0]), pad))
        np.testing.assert_array_equal(SafetensorsFile(path).read("x"), [[1, -2]])


@given(
    shape=st.lists(st.integers(0, 4), max_size=4).map(tuple),
    stored=st.sampled_from(["f2", "f4", "f8"]),
    target=st.sampled_from(["float16", "float32", "float64"]),
)
def test_every_shape_in_every_dtype(tmp_path_factory, shape, stored, target):
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(stored)
    save_file({"first": values, "second": np.asarray(values + 1)}, path)
    file = SafetensorsFile(path)
    for name, expected in (("first", values), ("second", values + 1)):
        array = file.read(name, target)
        assert array.shape == shape
        assert array.dtype == target
        np.testing.assert_array_equal(array, expected)


@given(
    tensors=st.lists(st.tuples(st.sampled_from(sorted(BITS)), st.lists(st.integers(0, 4), max_size=3)), max_size=4),
    pad=st.integers(0, 8),
    target=st.sampled_from(["float16", "float32", "float64"]),
    data=st.data(),
)
def test_any_bytes_in_any_dtype_are_an_array_or_one_error(tmp_path_factory, tensors, pad, target, data):
    """A file that is in order but for what its numbers are: NaN, too large, quantised."""
    header, end = {}, 0
    for number, (dtype, shape) in enumerate(tensors):
        bits = math.prod(shape) * BITS[dtype]
        assume(bits % 8 == 0)
        header[f"x{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + bits // 8]}
        end += bits // 8
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    path.write_bytes(file_bytes(header, data.draw(st.binary(min_size=end, max_size=end)), pad))
    try:
        file = SafetensorsFile(path)
    except CheckpointError as error:
        assume("unknown variant" not in str(error))  # a dtype that came to the library later than the oldest we take
        raise
    for name, item in header.items():
        try:
            array = file.read(name, target)
        except CheckpointError as error:
            message = str(error)
            array = None
        if array is not None:
            assert (array.shape, array.dtype) == (tuple(item["shape"]), target)
            assert FLOATS[target] == item["dtype"] or np.isfinite(array).all()
        else:
            assert f"{path}: tensor {name!r}" in message


@given(
    tensors=st.dictionaries(
        st.text(min_size=1, max_size=6).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(sorted(CODES.keys() - {"bfloat16"})), array_shapes(min_dims=0, min_side=0)),
        max_size=5,
    ),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    data=st.data(),
)
def test_mapped_arrays_are_what_the_library_reads(tmp_path_factory, tensors, metadata, data):
    """Both read the same file: the same names, metadata, dtypes, shapes and bytes, NaN included."""
    state = {}
    for name, (dtype, shape) in tensors.items():
        count = math.prod(shape) * np.dtype(dtype).itemsize
        content = data.draw(st.binary(min_size=count, max_size=count))
        content = bytes(byte & 1 for byte in content) if dtype == "bool" else content
        state[name] = np.frombuffer(content, dtype).reshape(shape)
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    save_file(state, path, metadata or None)
    ours, theirs = SafetensorsFile(path), load_file(path)
    with safe_open(path, "np") as file:
        assert ours.metadata == (file.metadata() or {})
    assert ours.entries.keys() == theirs.keys()
    for name, expected in theirs.items():
        array = ours.plain(name)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        assert array.tobytes() == expected.tobytes()


def test_a_file_that_is_replaced_while_it_is_opened(tmp_path, monkeypatch):
    """Its header would be checked against the new file and its tensors read from the old one."""
    path, other = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    save_file({"x": np.zeros(3, "f4")}, path)
    save_file({"x": np.zeros((4, 2), "f2")}, other)

    def replaced_first(name, **options):
        other.replace(name)
        return safe_open(name, **options)

    monkeypatch.setattr("safetensors.safe_open", replaced_first)
    with pytest.raises(CheckpointError, match="was replaced while it was being opened"):
        SafetensorsFile(path)


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "uint16"])
def test_integers_are_no_weights(tmp_path, dtype):
    save_file({"x": np.zeros(3, dtype)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor 'x' is stored as .*quantised"):
        SafetensorsFile(tmp_path / "x.safetensors").read("x")


def test_other_dtypes_and_names(tmp_path):
    save_file({"x": np.zeros(3, "f4")}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    for dtype in ("bfloat16", "int8", "F32", None):
        with pytest.raises(ValueError, match="expected one of float32, float64, float16"):
            file.read("x", dtype)
    with pytest.raises(KeyError):
        file.read("y")


def test_values_that_are_not_finite_are_found_and_name_file_and_tensor(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"good": np.ones(3, "f4"), "bad": np.array([1, np.inf], "f4")}, path)
    file = SafetensorsFile(path)
    with pytest.raises(CheckpointError, match=r"x\.safetensors: tensor 'bad' holds numbers that are not finite"):
        file.read("bad", "float64")


def test_what_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            SafetensorsFile(path)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(CheckpointError, match="truncated"):
        SafetensorsFile(tmp_path / "empty")


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 40, 100])
def test_a_truncated_file_names_itself(tmp_path, cut):
    path = tmp_path / "x.safetensors"
    save_file({"x": np.zeros((3, 5), "f4")}, path)
    os.truncate(path, path.stat().st_size - cut)
    with pytest.raises(CheckpointError, match="truncated") as raised:
        SafetensorsFile(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
def test_as_stored(tmp_path, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    save_file({"x": values, "empty": values[:0], "scalar": np.array(values[1, 1])}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    for name, expected in (("x", values), ("empty", values[:0]), ("scalar", values[1, 1])):
        array = file.plain(name)
        assert array.dtype == dtype
        assert array.shape == expected.shape
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, expected)


def test_what_numpy_lacks_cannot_be_had_as_stored(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(file_bytes({"x": entry("BF16", [2], 0)}, bytes(4)))
    with pytest.raises(CheckpointError, match="stored as BF16"):
        SafetensorsFile(tmp_path / "x.safetensors").plain("x")
