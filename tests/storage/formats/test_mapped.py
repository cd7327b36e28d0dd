"""aimv2_np/storage/formats/mapped.py; reading by dtype is tested with either kind of file."""

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.storage import SafetensorsFile, save_safetensors
from aimv2_np.storage.formats.casting import as_dtype

STATE = {"a": np.arange(6, dtype="f4").reshape(2, 3), "none": np.zeros((0, 3), "f4"), "ids": np.arange(3)}


@pytest.fixture
def file(tmp_path):
    save_safetensors(tmp_path / "x.safetensors", STATE)
    return SafetensorsFile(tmp_path / "x.safetensors")


def test_stored_numbers_are_views(file):
    stored = file.stored("a")
    np.testing.assert_array_equal(stored, STATE["a"])
    assert np.shares_memory(stored, file.read("a"))
    assert not stored.flags.writeable
    assert file.stored("none").shape == (0, 3)
    with pytest.raises(CheckpointError, match="stored as I64; expected weights"):
        file.stored("ids")


def test_what_was_let_go_of_is_read_again(file):
    array = file.read("a")
    file.release()
    np.testing.assert_array_equal(array, STATE["a"])
    np.testing.assert_array_equal(file.read("a"), STATE["a"])


@pytest.mark.parametrize("place", ["transposed", "unaligned", "as it is"])
def test_the_result_is_in_order_aligned_and_read_only(place):
    values = np.arange(6, dtype="f4").reshape(2, 3)
    stored = {
        "transposed": values.T.copy().T,
        "unaligned": np.frombuffer(b"x" + values.tobytes(), "<f4", offset=1).reshape(2, 3),
        "as it is": values,
    }[place]
    array = as_dtype(stored, "F32", "float32", "x")
    np.testing.assert_array_equal(array, values)
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert not array.flags.writeable
    assert np.shares_memory(array, stored) == (place == "as it is")
    assert values.flags.writeable
    np.testing.assert_array_equal(as_dtype(stored, "F32", "float64", "x"), values)
