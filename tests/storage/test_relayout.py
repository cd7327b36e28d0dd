"""From one layout to another and back: the numbers stay, in the dtype that was asked for, and old files go."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from aimv2_np import load
from aimv2_np.tasks.convert import convert
from tests.support.layouts import APPLE, FILES, folder_of, recorded


@pytest.mark.parametrize("layout", APPLE)
def test_there_and_back(tmp_path, layout):
    source = folder_of(tmp_path, "apple-lit", "apple")
    convert(source, tmp_path / "there", layout=layout)
    convert(tmp_path / "there", tmp_path / "back", layout="apple")
    before, after = load_file(source / FILES["apple"]), load_file(tmp_path / "back" / FILES["apple"])
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
        assert after[name].dtype == array.dtype


def test_a_converted_network_computes_the_same(tmp_path):
    source = folder_of(tmp_path, "apple-absolute", "flax")
    convert(source, tmp_path / "out", layout="transformers")
    inputs, _ = recorded("apple-absolute")
    (pixels,) = (value for value in inputs.values() if value.ndim == 4)
    ours, theirs = (load(folder)(pixels).last_hidden_state for folder in (tmp_path / "out", source))
    np.testing.assert_array_equal(ours, theirs)


def test_the_dtype_is_that_of_the_arrays_and_of_the_configuration(tmp_path):
    convert(folder_of(tmp_path, "apple-absolute", "apple"), tmp_path / "out", layout="transformers", dtype="float16")
    assert {array.dtype.name for array in load_file(tmp_path / "out" / "model.safetensors").values()} == {"float16"}
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert "float16" in (config.get("dtype"), config.get("torch_dtype"))


def test_an_older_checkpoint_is_replaced_only_when_asked(tmp_path):
    source, out = folder_of(tmp_path, "apple-absolute", "apple"), tmp_path / "out"
    convert(source, out, layout="transformers")
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError):
        convert(source, out, layout="mlx")
    assert (out / "model.safetensors").read_bytes() == before
    convert(source, out, layout="mlx", overwrite=True)
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".safetensors") == [FILES["mlx"]]
