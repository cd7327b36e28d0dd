"""The hub when all is well: what is fetched and what is used again. The real huggingface_hub, a hub on this machine."""

import os

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from aimv2_np import Aimv2Config, Aimv2Processor, Aimv2Tokenizer, CheckpointError, load
from tests.support.hub_cache import INDEX, NAME, NOBODY, OTHER, WEIGHTS, assert_loads, in_snapshot
from tests.support.hub_server import COMMIT, Fault, Repository

TENSOR = "text_projection.weight"
TOKENIZER = ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"]
PROCESSOR = sorted(["config.json", "preprocessor_config.json", *TOKENIZER])


def test_only_what_is_needed_is_fetched(hub, whole, tmp_path):
    assert_loads(tmp_path, whole)
    assert hub.fetched() == ["config.json", WEIGHTS]
    assert in_snapshot(tmp_path) == ["config.json", WEIGHTS]


@pytest.mark.parametrize(
    ("kind", "files"), [(Aimv2Config, ["config.json"]), (Aimv2Tokenizer, TOKENIZER), (Aimv2Processor, PROCESSOR)]
)
def test_what_is_no_model_needs_no_weights(hub, tmp_path, kind, files):
    kind.from_pretrained(NAME, cache_dir=tmp_path)
    assert hub.fetched() == files


def test_shards_are_those_that_the_index_names(hub, whole, shards, tmp_path):
    old = {f"model-0000{i}-of-00009.safetensors": b"of an older save" for i in range(1, 10)}
    names = sorted(name for name in shards if "-of-" in name)
    assert len(names) > 1
    hub.repositories[OTHER] = Repository({**shards, **old, "flax_model.msgpack": b"flax"})
    model = load(OTHER, cache_dir=tmp_path)
    assert [name for name in hub.fetched() if name.endswith((".safetensors", ".msgpack"))] == names
    for path, array in load(NAME, cache_dir=tmp_path).state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[path], array)


def test_one_file_is_preferred_to_shards_of_the_same(hub, model, tmp_path):
    hub.repositories[OTHER] = Repository(model)
    load(OTHER, cache_dir=tmp_path)
    assert [name for name in hub.fetched() if name.endswith(".safetensors")] == [WEIGHTS]


def test_a_shard_that_the_repository_lacks(hub, shards, tmp_path):
    lost = min(name for name in shards if "-of-" in name)
    hub.repositories[OTHER] = Repository({name: data for name, data in shards.items() if name != lost})
    with pytest.raises(FileNotFoundError, match=f"names 1 files that are not there: {lost}"):
        load(OTHER, cache_dir=tmp_path)


def test_an_index_may_not_name_what_it_likes(hub, shards, tmp_path):
    index = b'{"weight_map": {"x": "../../../secret.safetensors"}}'
    hub.repositories[OTHER] = Repository({**shards, INDEX: index})
    with pytest.raises(CheckpointError, match="expected the plain name of a"):
        load(OTHER, cache_dir=tmp_path)
    assert hub.fetched() == ["config.json", INDEX]


def test_a_repository_of_something_else(hub, tmp_path):
    hub.repositories[OTHER] = Repository({"README.md": b"a poem"})
    with pytest.raises(FileNotFoundError, match=rf"^{OTHER} has none of config\.json, .*; expected the repository of"):
        load(OTHER, cache_dir=tmp_path)


def test_the_token_stays_with_the_hub(hub, tmp_path):
    load(NAME, cache_dir=tmp_path, token="hf_mine")
    assert hub.tokens == {"hf_mine"}
    assert hub.cdn_tokens == {""}


def test_the_cache_is_used_again(hub, whole, tmp_path):
    first = assert_loads(tmp_path, whole)
    hub.requests.clear()
    second = assert_loads(tmp_path, whole)
    assert hub.fetched() == []
    hub.requests.clear()
    third = assert_loads(tmp_path, whole, local_files_only=True)
    assert hub.requests == []
    for model in (second, third):
        np.testing.assert_array_equal(model.state_dict()[TENSOR], first.state_dict()[TENSOR])


def test_files_that_two_commits_share_are_fetched_once(hub, whole, tmp_path):
    assert_loads(tmp_path, whole)
    hub.requests.clear()
    sha = hub.repositories[NAME].commit({**whole, "README.md": b"new"}, "main")
    load(NAME, cache_dir=tmp_path)
    assert hub.fetched() == []
    assert len(list(tmp_path.glob(f"models--org--model/snapshots/{sha}/*"))) == 2


@pytest.mark.parametrize("revision", ["v2", "refs/pr/7", None])
def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, whole, tmp_path, revision):
    changed = {**whole, "config.json": whole["config.json"].replace(b'"projection_dim": 8', b'"projection_dim":  8')}
    assert changed != whole
    sha = hub.repositories[NAME].commit(changed, "v2", "refs/pr/7")
    load(NAME, cache_dir=tmp_path, revision=revision or sha)
    (folder,) = (tmp_path / "models--org--model" / "snapshots").iterdir()
    assert folder.name == sha
    assert (folder / "config.json").read_bytes() == changed["config.json"]
    assert load(NAME, cache_dir=tmp_path, revision=sha, local_files_only=True).config.projection_dim == 8


def test_a_pinned_revision_stays_when_the_branch_moves(hub, whole, tmp_path):
    hub.repositories[NAME].commit({"config.json": b"{}"}, "main")
    assert_loads(tmp_path, whole, revision=COMMIT)
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        load(NAME, cache_dir=tmp_path)
    assert_loads(tmp_path, whole, revision=COMMIT, local_files_only=True)


@pytest.mark.parametrize("offline", ["local_files_only", "HF_HUB_OFFLINE"])
def test_offline(hub, whole, monkeypatch, tmp_path, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline == "HF_HUB_OFFLINE")
    options = {"local_files_only": True} if offline == "local_files_only" else {}
    with pytest.raises(LocalEntryNotFoundError, match=f"^{NAME} is not in the cache and could not be fetched: go onl"):
        load(NAME, cache_dir=tmp_path, **options)
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert_loads(tmp_path, whole)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline == "HF_HUB_OFFLINE")
    assert_loads(tmp_path, whole, **options)
    assert hub.requests == []


def test_offline_with_the_configuration_alone(hub, tmp_path):
    Aimv2Config.from_pretrained(NAME, cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=f"^{NAME} is not in the cache|holds no weights"):
        load(NAME, cache_dir=tmp_path, local_files_only=True)


def test_the_hub_is_down_and_the_cache_is_full(hub, whole, monkeypatch, tmp_path):
    assert_loads(tmp_path, whole)
    hub.faults["api"] = Fault(status=503)
    assert_loads(tmp_path, whole)
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    assert_loads(tmp_path, whole)


@pytest.mark.skipif(os.name != "posix", reason="a cache of links")
def test_files_that_the_cache_shares_between_repositories(hub, whole, tmp_path):
    """As huggingface_hub 2 has it with hf_xet: blobs are links to <cache>/blobs/<two digits>/<64 digits>."""
    assert_loads(tmp_path, whole)
    for i, blob in enumerate(sorted((tmp_path / "models--org--model" / "blobs").iterdir())):
        digits = f"{i:064x}"
        shared = tmp_path / "blobs" / digits[:2] / digits
        shared.parent.mkdir(parents=True, exist_ok=True)
        blob.rename(shared)
        blob.symlink_to(f"../../blobs/{digits[:2]}/{digits}")
    assert_loads(tmp_path, whole)
    blob.unlink()
    (tmp_path / "blobs" / "00" / "x").write_bytes(whole[WEIGHTS])
    blob.symlink_to("../../blobs/00/x")
    with pytest.raises(CheckpointError, match="is a link that leads out of its folder"):
        load(NAME, cache_dir=tmp_path)
