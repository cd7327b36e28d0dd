"""The two sides, whatever they come as: one recording, and arrays of one shape."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from aimv2_np.comparison.sides import as_recording, pair
from aimv2_np.errors import CheckpointError
from aimv2_np.recording import Recording

X = np.arange(24, dtype=np.float32).reshape(1, 4, 6)  # (B, N, D)


def test_a_dict_and_a_file_of_it_are_the_same(tmp_path):
    arrays = {"inputs/pixel_values": np.zeros((1, 3, 2, 2), np.float32), "activations/a": X, "b": 2 * X}
    save_file(arrays, tmp_path / "arrays.safetensors")
    for side in (arrays, tmp_path / "arrays.safetensors", str(tmp_path / "arrays.safetensors")):
        recording = as_recording(side, "other")
        assert set(recording.order) == {"a", "b"}
        np.testing.assert_array_equal(recording.activations["b"], 2 * X)
        assert set(recording.inputs) == {"pixel_values"}
    assert as_recording(recording, "other") is recording


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (3, "other is an int"),
        ({"a": ["x"]}, r"other\['a'\] is a list"),
        ({"a": [[1], [1, 2]]}, r"other\['a'\] is a"),
        ({"a": []}, r"other\['a'\] is a list"),
        ({"a": None}, r"other\['a'\] is a NoneType"),
        ({1: X}, "other has the key 1; expected a dict of arrays by name"),
    ],
)
def test_what_is_no_side(side, words):
    with pytest.raises(TypeError, match=words):
        as_recording(side, "other")


@pytest.mark.parametrize(
    ("theirs", "remark"),
    [
        (X, ""), (X[0], "theirs is (4, 6)"),
        (X.swapaxes(1, 2).reshape(1, 6, 2, 2), "theirs is (1, 6, 2, 2), axes in the order channels, tokens"),
    ],
)  # fmt: skip
def test_shapes_that_only_look_different(theirs, remark):
    sides = (Recording.from_arrays({"a": array}, {}) for array in (X, theirs))
    a, b, found = pair(*sides, "a", "a")
    np.testing.assert_array_equal(a, b)
    assert found == remark


@pytest.mark.parametrize(
    ("theirs", "remark"),
    [
        (X.reshape(1, 4, 2, 3), "theirs is (1, 4, 2, 3), axes in the order tokens, heads, channels"),
        (X, "theirs is (1, 4, 6), axes in the order tokens, heads, channels"),
    ],
)
def test_heads_at_another_place(theirs, remark):
    ours = X.reshape(1, 4, 2, 3).swapaxes(1, 2)  # (B, H, N, d)
    a, b, found = pair(*(Recording.from_arrays({"q": array}, {}) for array in (ours, theirs)), "q", "q")
    np.testing.assert_array_equal(a, b)
    assert remark in found


@pytest.mark.parametrize("dtype", [object, complex])
def test_inputs_that_are_no_real_numbers(dtype):
    with pytest.raises(CheckpointError, match=r"the input 'pixel_values' has the dtype .*; expected real numbers"):
        as_recording({"inputs/pixel_values": np.zeros((1, 3, 2, 2), dtype), "a": X}, "other")


def test_a_tuple_of_one_array_is_the_array():
    assert as_recording({"attention": (X,), "states": (X, X)}, "other").order == ("attention", "states.0", "states.1")


def test_an_activation_that_is_not_on_both_sides():
    one, other = Recording.from_arrays({"a": X}, {}), Recording.from_arrays({"b": X}, {})
    assert pair(one, other, "a", "a") is None


def test_arrays_that_hold_no_numbers():
    recording = Recording.from_arrays({"a": X}, {})
    recording.activations["a"] = np.array(["x"])
    with pytest.raises(CheckpointError, match="expected real numbers"):
        pair(recording, recording, "a", "a")


class Tensor:
    """What a PyTorch tensor does as far as it is asked."""

    dtype = "torch.bfloat16"

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    cpu = float = detach

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_tensors_and_lists_of_numbers_are_arrays():
    recording = as_recording({"a": Tensor(X), "b": X.tolist(), "hidden_states": (X, 2 * X), "c": [1, 2]}, "other")
    assert recording.order == ("a", "b", "hidden_states.0", "hidden_states.1", "c")
    assert recording.dtypes["a"] == "bfloat16"
    assert recording.dtypes["b"] == "float32"
    np.testing.assert_array_equal(recording.activations["b"], X)
    np.testing.assert_array_equal(recording.activations["hidden_states.1"], 2 * X)
