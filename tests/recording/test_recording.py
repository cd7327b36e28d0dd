import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from aimv2_np import CheckpointError
from aimv2_np.recording import Recording
from aimv2_np.recording.recording import FORMAT, as_numpy

X = np.arange(12, dtype=np.float32).reshape(3, 4)
GOOD = {"format": FORMAT, "order": '["a","b"]'}
WHOLE = {"activations/a": X, "activations/b": X[0]}
BRIEF = {
    "statistics": np.zeros((2, 5)), "first": np.zeros((2, 16), np.float32), "projection": np.zeros((2, 64), np.float32),
}  # fmt: skip


def saved(folder: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Path:
    path = folder / "recording.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path, metadata)
    return path


def test_a_file_by_others_needs_format_order_and_activations_only(tmp_path):
    found = Recording.load(saved(tmp_path, WHOLE, GOOD))
    assert found.order == ("a", "b")
    assert found.shapes == {"a": (3, 4), "b": (4,)}
    assert found.dtypes == {"a": "float32", "b": "float32"}
    assert (found.source, found.config, found.inputs) == ("arrays", None, {})
    np.testing.assert_array_equal(found.activations["a"], X)
    assert found.statistics["a"].max == 11
    assert "arrays of 2 activations" in repr(found)


def test_statistics_by_others_need_shapes(tmp_path):
    path = saved(tmp_path, BRIEF, GOOD | {"shapes": "[[3,4],[]]"})
    found = Recording.load(path)
    assert not found.whole
    assert found.statistics["b"].shape == ()
    assert found.statistics["b"].first.shape == (1,)
    with pytest.raises(CheckpointError, match="shapes"):
        Recording.load(saved(tmp_path, BRIEF, GOOD))


def test_arrays_are_views_of_the_file(tmp_path):
    array = Recording.load(saved(tmp_path, WHOLE, GOOD)).activations["a"]
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_bfloat16_by_others_is_read_exactly(tmp_path):
    header = {
        "__metadata__": {"format": FORMAT, "order": '["a"]'},
        "activations/a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes([0x80, 0x3F, 0x00, 0xC0]))  # 1, -2
    found = Recording.load(path)
    assert found.dtypes == {"a": "bfloat16"}
    assert found.activations["a"].tolist() == [1, -2]


def test_mappings_know_their_names(tmp_path):
    found = Recording.load(saved(tmp_path, WHOLE, GOOD))
    with pytest.raises(KeyError):
        found.activations["c"]
    assert "c" not in found.statistics
    assert len(found.activations) == 2


def test_from_arrays():
    found = Recording.from_arrays({"z": X, "a": X[0].astype(np.float64)}, inputs={"input_ids": np.array([[1]])})
    assert found.order == ("z", "a")
    assert found.dtypes == {"z": "float32", "a": "float64"}
    assert found.statistics["z"].shape == (3, 4)
    assert found.inputs["input_ids"].shape == (1, 1)


@pytest.mark.parametrize(
    ("tensors", "changes", "message"),
    [
        (WHOLE, {"format": "pt"}, "is no recording"),
        (WHOLE, {"order": "nonsense"}, "not valid JSON"),
        (WHOLE, {"order": "[" * 100_000}, "not valid JSON"),
        (WHOLE, {"order": '{"a": 1}'}, "list of distinct paths"),
        (WHOLE, {"order": '["a","a"]'}, "list of distinct paths"),
        (WHOLE, {"order": '["a"]'}, "not those that its metadata lists"),
        (WHOLE | {"stranger": X}, {}, "not those that its metadata lists"),
        (WHOLE | BRIEF, {"shapes": "[[3,4],[5]]"}, "shapes"),
        (BRIEF | {"activations/c": X}, {"shapes": "[[3,4],[4]]"}, "not those that its metadata lists"),
        (WHOLE, {"shapes": "[[3,4],[5]]"}, "shapes"),
        (WHOLE, {"shapes": "[[3,4],[-1]]"}, "shapes"),
        (WHOLE, {"shapes": "7"}, "shapes"),
        (BRIEF, {"shapes": json.dumps([[3, 4], [2**63 - 1] * 10**4])}, "shapes"),  # products that take seconds
        (BRIEF, {"order": r'["a", "\ud800"]', "shapes": "[[3,4],[4]]"}, "not valid JSON"),
        (WHOLE, {"dtypes": "[1, 2]"}, "dtypes"),
        (WHOLE, {"slices": '{"c": ":"}'}, "slices"),
        (WHOLE, {"slices": '{"a": "import os"}'}, "no slice"),
        (WHOLE, {"config": "[]"}, "config"),
        (BRIEF | {"first": X}, {"shapes": "[[3,4],[4]]"}, "first has the shape"),
        (BRIEF | {"statistics": np.zeros((2, 5), int)}, {"shapes": "[[3,4],[4]]"}, "expected floats"),
    ],
)
def test_a_file_that_contradicts_itself(tmp_path, tensors, changes, message):
    with pytest.raises(CheckpointError, match=message):
        Recording.load(saved(tmp_path, tensors, GOOD | changes))


def test_numbers_of_every_kind_become_arrays():
    class Tensor:
        """What a PyTorch tensor of bfloat16 offers; NumPy cannot take one."""

        dtype = "torch.bfloat16"

        def detach(self):
            return self

        def cpu(self):
            return self

        def float(self):
            return X

    for value, dtype in ((X, "float32"), (X.astype(np.float16), "float16"), (X.tolist(), "float64")):
        array, name = as_numpy(value)
        assert (array.dtype.name, name) == (dtype, dtype)
        np.testing.assert_array_equal(array, X)
    array, name = as_numpy(Tensor())
    assert (array.dtype.name, name) == ("float32", "bfloat16")


def test_an_error_names_the_file(tmp_path):
    path = saved(tmp_path, WHOLE, GOOD | {"slices": '{"a": "import os"}'})
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))}: 'import os' is no slice"):
        Recording.load(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Recording.load(tmp_path / "none")


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3), lambda s: st.lists(s, max_size=3), max_leaves=6
)


@given(
    st.sampled_from(["order", "shapes", "dtypes", "slices", "config"]),
    json_values | st.dictionaries(st.text(max_size=3), json_values),
)
def test_any_metadata_is_read_or_refused(tmp_path_factory, key, value):
    path = saved(tmp_path_factory.mktemp("any"), WHOLE, GOOD | {key: json.dumps(value)})
    try:
        found = Recording.load(path)
    except CheckpointError:
        return
    assert set(found.order) == set(found.shapes) == set(found.dtypes) == {"a", "b"}
