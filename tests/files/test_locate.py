"""aimv2_np/files/locate.py, against a small hub on this machine."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import save

from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.files.locate import CONFIG_FILE, PROCESSOR_FILES, resolve
from aimv2_np.storage import open_checkpoint
from tests.support.hub_server import COMMIT, Repository, redirect, serve

NAME = "org/some-model"
FILES = {
    "config.json": json.dumps(Aimv2VisionConfig(hidden_size=64).to_dict()).encode(),
    "model.safetensors": save({"x": np.arange(3, dtype="f4")}),
    "mlx_model.safetensors": b"for another library",
    "flax_model.msgpack": b"for another library",
    "pytorch_model.bin": b"pickled",
    "preprocessor_config.json": b"{}",
    "tokenizer.json": b"{}",
    "README.md": b"# read me",
    "configuration_aimv2.py": b"raise SystemExit",
}


@pytest.fixture
def hub(monkeypatch):
    with serve({NAME: FILES}) as hub:
        redirect(hub, monkeypatch)
        yield hub


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_model_needs_its_configuration_and_its_weights(hub, tmp_path):
    folder = resolve(NAME, cache_dir=tmp_path)
    assert names(folder) == ["config.json", "model.safetensors"]
    assert folder.name == COMMIT
    np.testing.assert_array_equal(open_checkpoint(folder).read("x"), [0, 1, 2])


def test_a_processor_needs_its_small_files_only(hub, tmp_path):
    folder = resolve(NAME, cache_dir=str(tmp_path), files=PROCESSOR_FILES)
    assert names(folder) == ["config.json", "preprocessor_config.json", "tokenizer.json"]


def test_a_configuration_comes_from_the_hub_alone(hub, tmp_path):
    assert Aimv2VisionConfig.from_pretrained(NAME, cache_dir=tmp_path).hidden_size == 64
    assert names(resolve(NAME, cache_dir=tmp_path, files=(CONFIG_FILE,))) == ["config.json"]


def test_shards_are_fetched_with_their_index(hub, tmp_path):
    shard = "model-00001-of-00001.safetensors"
    index = {"weight_map": {"x": shard}}
    hub.repositories[NAME] = Repository(
        {
            shard: FILES["model.safetensors"],
            "model.safetensors.index.json": json.dumps(index).encode(),
        }
    )
    folder = resolve(NAME, cache_dir=tmp_path)
    assert names(folder) == [shard, "model.safetensors.index.json"]
    assert open_checkpoint(folder).shapes == {"x": (3,)}


def test_what_is_in_the_cache_is_not_fetched_again(hub, tmp_path):
    first = resolve(NAME, cache_dir=tmp_path)
    assert [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    hub.requests.clear()
    assert resolve(NAME, cache_dir=tmp_path) == first
    assert not [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    hub.requests.clear()
    assert resolve(NAME, cache_dir=tmp_path, local_files_only=True) == first
    assert resolve(NAME, cache_dir=tmp_path, revision=COMMIT, local_files_only=True) == first
    assert hub.requests == []


def test_a_commit_can_be_asked_for(hub, tmp_path):
    assert resolve(NAME, revision=COMMIT, cache_dir=tmp_path).name == COMMIT


def test_the_token_is_sent(hub, tmp_path):
    resolve(NAME, cache_dir=tmp_path, token="hf_mine")
    assert hub.tokens == {"hf_mine"}


def test_a_missing_revision_keeps_its_type_and_gets_advice(hub, tmp_path):
    with pytest.raises(RevisionNotFoundError, match=f"^{NAME} has no such revision: check revision="):
        resolve(NAME, revision="v9", cache_dir=tmp_path)


def test_a_missing_repository_keeps_its_type_and_gets_advice(hub, tmp_path):
    with pytest.raises(RepositoryNotFoundError, match=r"^org/other was not found on the hub, nor is there a folder"):
        resolve("org/other", cache_dir=tmp_path)


def test_a_gated_repository_keeps_its_type_and_gets_advice(hub, tmp_path):
    hub.gated.add(NAME)
    with pytest.raises(GatedRepoError, match=f"^{NAME} asks for consent"):
        resolve(NAME, cache_dir=tmp_path)


def test_a_private_repository_keeps_its_type_and_gets_advice(hub, tmp_path):
    hub.private.add(NAME)
    with pytest.raises(HfHubHTTPError, match=f"^{NAME} is not open to this user: pass a valid token="):
        resolve(NAME, cache_dir=tmp_path, token="hf_invalid")


def test_unreachable_and_not_in_the_cache(hub, monkeypatch, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens there
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(LocalEntryNotFoundError, match=f"^{NAME} is not in the cache and could not be fetched"):
            resolve(NAME, cache_dir=tmp_path)


def test_unreachable_but_in_the_cache(hub, monkeypatch, tmp_path):
    folder = resolve(NAME, cache_dir=tmp_path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert resolve(NAME, cache_dir=tmp_path) == folder


def test_offline_and_not_in_the_cache(hub, tmp_path):
    with pytest.raises(
        LocalEntryNotFoundError, match=f"^{NAME} is not in the cache and could not be fetched: go online"
    ):
        resolve(NAME, cache_dir=tmp_path, local_files_only=True)
    assert hub.requests == []


def test_names_that_the_hub_does_not_permit(hub, tmp_path):
    with pytest.raises(HFValidationError, match="is not a name that the hub permits"):
        resolve("org/name--x", cache_dir=tmp_path)


@pytest.mark.parametrize(
    "name", ["./nope", "/nope/nope", "../a/b", "nope", "a/b/c", "~/model", "", "org\\name", "org/", "/x"]
)
def test_paths_where_nothing_is_are_not_asked_of_the_hub(hub, monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir("here")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        resolve(name)
    assert hub.requests == []


def test_a_path_object_is_never_asked_of_the_hub(hub):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        resolve(Path(NAME))
    assert hub.requests == []


def test_an_existing_folder_wins(hub, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir(parents=True)
    assert resolve(NAME) == Path(NAME)
    assert resolve(tmp_path) == tmp_path
    assert resolve(os.fspath(tmp_path)) == tmp_path
    assert hub.requests == []


def test_a_file_is_answered_with_its_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder: pass the folder that holds it"):
        resolve(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", [None, 3, b"folder", ["folder"]])
def test_what_is_no_path_at_all(name):
    with pytest.raises(TypeError, match="expected the path of a folder"):
        resolve(name)


def test_an_option_that_there_is_not(tmp_path):
    """Also where nothing is fetched: a slip in a script for folders would show only on another machine."""
    with pytest.raises(TypeError, match="an option is 'revison'; expected one of revision, cache_dir, token, local_"):
        resolve(tmp_path, revison="main")
    with pytest.raises(TypeError, match="revison"):
        Aimv2VisionConfig.from_pretrained(tmp_path, revison="main")
