"""aimv2_np/storage/checkpoint.py"""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from aimv2_np.errors import CheckpointError
from aimv2_np.storage.checkpoint import INDEX, SINGLE, open_checkpoint

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
STATE = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(2, "f2"), "c": np.full((), 3, "f4")}


def write_index(folder, weight_map):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 32}, "weight_map": weight_map}))


@pytest.fixture
def sharded(tmp_path):
    """A folder with STATE in two shards."""
    save_file({"a": STATE["a"]}, tmp_path / FIRST)
    save_file({"b": STATE["b"], "c": STATE["c"]}, tmp_path / SECOND)
    write_index(tmp_path, {"a": FIRST, "b": SECOND, "c": SECOND})
    return tmp_path


@pytest.fixture
def hub_cache(tmp_path):
    """A snapshot in a hub cache: a link into the blobs beside it."""
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    save_file(STATE, repository / "blobs" / "abc123")
    (snapshot / SINGLE).symlink_to("../../blobs/abc123")
    return snapshot


def check_state(checkpoint):
    assert checkpoint.shapes == {"a": (2, 3), "b": (2,), "c": ()}
    assert checkpoint.dtypes == {"a": "F32", "b": "F16", "c": "F32"}
    assert checkpoint.nbytes == 32
    for name, values in STATE.items():
        np.testing.assert_array_equal(checkpoint.read(name), values)
        assert checkpoint.read(name, "float64").dtype == np.float64


def test_one_file(tmp_path):
    save_file(STATE, tmp_path / SINGLE)
    check_state(open_checkpoint(tmp_path))
    check_state(open_checkpoint(str(tmp_path)))


def test_several_files(sharded):
    check_state(open_checkpoint(sharded))


def test_the_single_file_wins_as_in_transformers(sharded):
    save_file({"z": np.zeros(1, "f4")}, sharded / SINGLE)
    assert list(open_checkpoint(sharded).shapes) == ["z"]


def test_unknown_names_are_a_key_error_naming_the_folder(sharded):
    with pytest.raises(KeyError, match="has no tensor 'z'"):
        open_checkpoint(sharded).read("z")


def test_tensors_that_are_not_finite_are_found_in_every_dtype(tmp_path):
    state = {
        "good": np.ones(3, "f4"),
        "single": np.array([1, np.nan], "f4"),
        "half": np.array([np.inf], "f2"),
        "steps": np.arange(3),
    }
    save_file(state, tmp_path / SINGLE)
    checkpoint = open_checkpoint(tmp_path)
    assert np.isnan(checkpoint.read("single")[1])  # mapped, so not looked at
    with pytest.raises(CheckpointError, match="'half' holds numbers that are not finite"):
        checkpoint.read("half")


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "..",
        "",
        ".hidden.safetensors",
        "model.bin",
        "model.safetensors\0",
        "model.safetensors\n",
        "x" * 300 + ".safetensors",
        3,
        None,
        ["model.safetensors"],
    ],
)
def test_an_index_names_only_plain_files_beside_it(sharded, name):
    save_file({"a": STATE["a"]}, sharded.parent / SINGLE)
    write_index(sharded, {"a": name})
    with pytest.raises(CheckpointError, match="expected the plain name of a") as raised:
        open_checkpoint(sharded)
    assert INDEX in str(raised.value)


@pytest.mark.parametrize(
    "content", ["{}", '{"weight_map": {}}', '{"weight_map": ["a"]}', "[]", "{", '{"weight_map": 3}']
)
def test_an_index_that_is_none_is_named(sharded, content):
    (sharded / INDEX).write_text(content)
    with pytest.raises(CheckpointError, match=INDEX):
        open_checkpoint(sharded)


def test_missing_files_are_listed(sharded):
    (sharded / FIRST).unlink()
    with pytest.raises(FileNotFoundError, match=f"1 files that are not there: {FIRST}"):
        open_checkpoint(sharded)


def test_tensors_in_another_file_than_the_index_says_are_listed(sharded):
    write_index(sharded, {"a": FIRST, "b": FIRST, "d": SECOND})
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(sharded)
    message = str(raised.value)
    assert "2 tensors are not in the file it names for them: b, d" in message
    assert f"2 tensors are in files it does not name for them: b in {SECOND}, c in {SECOND}" in message


def test_a_tensor_in_two_files_is_refused(sharded):
    save_file({"a": STATE["a"], "b": STATE["b"]}, sharded / FIRST)
    with pytest.raises(CheckpointError, match=f"b in {FIRST}"):
        open_checkpoint(sharded)


def test_long_lists_are_cut(sharded):
    write_index(sharded, {f"x{number:03d}": FIRST for number in range(100)})
    with pytest.raises(CheckpointError, match=r"100 tensors are not .* x008, x009, \.\.\."):
        open_checkpoint(sharded)


def test_damaged_shards_are_named(sharded):
    os.truncate(sharded / SECOND, 50)
    with pytest.raises(CheckpointError, match=SECOND):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "m.pth", "m.ckpt"]
)
def test_pickles_are_refused_unopened_with_advice(tmp_path, name):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(CheckpointError, match="never read here") as raised:
        open_checkpoint(tmp_path)
    assert name in str(raised.value)
    assert "save_pretrained" in str(raised.value)


def test_pickles_beside_weights_do_no_harm(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"junk")
    save_file(STATE, tmp_path / SINGLE)
    check_state(open_checkpoint(tmp_path))


def test_no_weights_says_what_was_looked_for_and_found(tmp_path):
    wanted = r"has nothing\); expected model\.safetensors, .*index\.json, mlx_model\.\w+ or flax_model\.msgpack"
    with pytest.raises(FileNotFoundError, match=wanted):
        open_checkpoint(tmp_path)
    (tmp_path / "readme.txt").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"it has readme\.txt"):
        open_checkpoint(tmp_path)


def test_what_is_no_folder(tmp_path):
    save_file(STATE, tmp_path / SINGLE)
    with pytest.raises(FileNotFoundError, match="is a file; expected a folder"):
        open_checkpoint(tmp_path / SINGLE)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_checkpoint(tmp_path / "none")


def test_a_folder_in_place_of_the_weights(tmp_path):
    (tmp_path / SINGLE).mkdir()
    with pytest.raises(FileNotFoundError, match=SINGLE):
        open_checkpoint(tmp_path)


def test_links_of_the_hub_cache_work_also_through_a_link_to_the_folder(hub_cache, tmp_path):
    check_state(open_checkpoint(hub_cache))
    (tmp_path / "here").symlink_to(hub_cache)
    check_state(open_checkpoint(tmp_path / "here"))


def test_links_within_the_folder_work(tmp_path):
    save_file(STATE, tmp_path / "weights")
    (tmp_path / SINGLE).symlink_to("weights")
    check_state(open_checkpoint(tmp_path))


def test_links_out_of_the_folder_are_refused(sharded, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "x.safetensors"
    save_file({"a": STATE["a"]}, other)
    (sharded / FIRST).unlink()
    (sharded / FIRST).symlink_to(other)
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        open_checkpoint(sharded)
    (sharded / SINGLE).symlink_to(other)
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        open_checkpoint(sharded)


def test_an_index_that_is_a_link_out_is_refused(sharded, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "index.json"
    (sharded / INDEX).rename(other)
    (sharded / INDEX).symlink_to(other)
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        open_checkpoint(sharded)


@pytest.mark.parametrize("target", ["../../refs/x", "../../blobs/sub/x", "../../../secret", "../x"])
def test_a_folder_dressed_as_a_hub_cache_reaches_its_blobs_only(hub_cache, target):
    link = hub_cache / SINGLE
    link.unlink()
    link.symlink_to(target)
    place = hub_cache / target
    place.parent.mkdir(parents=True, exist_ok=True)
    save_file(STATE, place.resolve())
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        open_checkpoint(hub_cache)


@pytest.mark.parametrize("folder", ["models--org--name/other/0", "name/snapshots/0", "models--org--name/a/snapshots/0"])
def test_only_the_hub_caches_own_layout_has_blobs(tmp_path, folder):
    snapshot = tmp_path / folder
    snapshot.mkdir(parents=True)
    blobs = snapshot.parent.parent / "blobs"
    blobs.mkdir()
    save_file(STATE, blobs / "abc123")
    (snapshot / SINGLE).symlink_to("../../blobs/abc123")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        open_checkpoint(snapshot)


def test_a_blob_that_is_a_link_itself_is_refused(hub_cache, tmp_path):
    save_file(STATE, tmp_path / "secret")
    blob = hub_cache.parent.parent / "blobs" / "abc123"
    blob.unlink()
    blob.symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        open_checkpoint(hub_cache)


def test_a_link_to_nothing_says_so(hub_cache):
    (hub_cache.parent.parent / "blobs" / "abc123").unlink()
    with pytest.raises(FileNotFoundError, match="is a link to a file that is not there"):
        open_checkpoint(hub_cache)


def test_a_link_in_a_circle_is_refused(tmp_path):
    (tmp_path / SINGLE).symlink_to(SINGLE)
    # Python before 3.13 cannot resolve such a link, later ones resolve it to itself
    with pytest.raises((FileNotFoundError, CheckpointError), match="link"):
        open_checkpoint(tmp_path)


def test_its_representation_is_one_line(sharded):
    assert repr(open_checkpoint(sharded)) == f"Checkpoint({str(sharded)!r}: 3 tensors, 32 bytes)"
