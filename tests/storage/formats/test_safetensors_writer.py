"""aimv2_np/storage/formats/safetensors_writer.py"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from aimv2_np.backends.arrays import dtype_of
from aimv2_np.backends.dtypes import CODES
from aimv2_np.storage import save_safetensors

STATE = {"a": np.zeros((2, 3), "f4"), "b": np.ones(4, "f4")}


@given(
    shapes=st.dictionaries(
        st.text(min_size=1, max_size=6).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(sorted(CODES)), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    )
)
def test_the_library_reads_what_is_written(tmp_path_factory, shapes):
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    state = {name: np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype_of(dtype)))
             for name, (dtype, shape) in shapes.items()}  # fmt: skip
    save_safetensors(path, state)
    with safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt"}
    loaded = load_file(path)
    assert loaded.keys() == state.keys()
    for name, values in state.items():
        assert loaded[name].dtype == values.dtype
        np.testing.assert_array_equal(loaded[name], values)


def test_arrays_need_not_lie_in_order(tmp_path):
    values = np.arange(24, dtype="f4").reshape(2, 3, 4)
    state = {
        "t": values.transpose(2, 0, 1),
        "s": values[:, ::2, ::-1],
        "f": np.asfortranarray(values),
        "b": values.astype(">f4"),
    }
    save_safetensors(tmp_path / "x.safetensors", state)
    loaded = load_file(tmp_path / "x.safetensors")
    for name, array in state.items():
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"x": np.zeros(2, "c8")}, "x has the dtype complex64"),
        ({"x": np.zeros(2, "O")}, "x has the dtype object"),
        ({"__metadata__": np.zeros(2)}, "the name of a tensor is"),
        ({"": np.zeros(2)}, "the name of a tensor is"),
        ({3: np.zeros(2)}, "the name of a tensor is"),
        ({"\ud800": np.zeros(2)}, "the name of a tensor is"),
        ({"x": np.zeros((1,) * 33)}, "x has 33 dimensions"),
    ],
)
def test_what_the_format_cannot_hold_leaves_no_file(tmp_path, state, message):
    with pytest.raises(ValueError, match=message):
        save_safetensors(tmp_path / "x.safetensors", state)
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_text(tmp_path):
    with pytest.raises(ValueError, match="strings only"):
        save_safetensors(tmp_path / "x.safetensors", STATE, {"a": 3})
    save_safetensors(tmp_path / "x.safetensors", STATE, {})
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert not file.metadata()
