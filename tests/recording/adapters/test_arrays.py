import numpy as np
import pytest

from aimv2_np.recording.adapters import record_arrays

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_dictionary_becomes_a_recording(tmp_path):
    found = record_arrays(
        {"z.ffn": X, "a": [[1.0, 2.0]]},
        tmp_path / "a.safetensors",
        inputs={"input_ids": [[1]]},
        dtypes={"z.ffn": "bfloat16"},
    )
    assert found.order == ("z.ffn", "a")
    assert found.dtypes == {"z.ffn": "bfloat16", "a": "float64"}
    assert found.source == "arrays"
    np.testing.assert_array_equal(found.activations["z.ffn"], X)
    np.testing.assert_array_equal(found.inputs["input_ids"], [[1]])


def test_options_reach_the_writer(tmp_path):
    path = tmp_path / "a.safetensors"
    assert not record_arrays({"a": X}, path, statistics=True).whole
    with pytest.raises(FileExistsError):
        record_arrays({"a": X}, path)
    assert record_arrays({"a": X}, path, overwrite=True, slices={"*": "0"}).slices == {"a": "0"}


def test_nothing_to_record(tmp_path):
    with pytest.raises(ValueError, match="arrays is empty"):
        record_arrays({}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="dtype object"):
        record_arrays({"a": [None]}, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
