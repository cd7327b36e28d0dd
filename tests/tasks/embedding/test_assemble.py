"""From shards to the one file: the arrays joined in order, the names of the sound pictures, the others' reasons."""

import numpy as np
import pytest

from aimv2_np.tasks import open_features
from aimv2_np.tasks.embedding.assemble import assemble, check_output
from aimv2_np.tasks.embedding.feature_file import FORMAT
from aimv2_np.tasks.embedding.shards import ShardStore, parts_folder

NAMES = ["a.png", "b.png", "ü.png", "d.png", "e.png"]
METADATA = {"format": FORMAT, "features": "pooled", "normalized": "false"}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_shards_become_one_file(tmp_path, suffix):
    output, features = tmp_path / f"features{suffix}", np.arange(8, dtype=np.float32).reshape(4, 2)
    store = ShardStore(output, {}, len(NAMES))
    store.add(2, {"features": features[:1]}, {1: "cut short"})
    store.add(3, {"features": features[1:2]}, {})
    store.add(5, {"features": features[2:]}, {})
    assemble(store, NAMES, output, METADATA)
    assert not output.exists()
    store.finish(output)
    found = open_features(output)
    np.testing.assert_array_equal(found.features, features)
    assert list(found.names) == ["a.png", "ü.png", "d.png", "e.png"]
    assert found.broken == (("b.png", "cut short"),)
    assert found.kind == "pooled"
    assert not parts_folder(output).exists()


@pytest.mark.parametrize("name", ["features.txt", "features"])
def test_a_suffix_that_says_no_format(tmp_path, name):
    with pytest.raises(ValueError, match=r"expected one of \.safetensors, \.npz, \.parquet"):
        check_output(tmp_path / name)


@pytest.mark.parametrize("name", ["a.safetensors", "a.NPZ"])
def test_formats_that_need_no_library(tmp_path, name):
    check_output(tmp_path / name)
