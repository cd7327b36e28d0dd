"""The hub that these tests download from: one model, whole, in shards, and what a repository holds beside it."""

import time

import pytest

from aimv2_np import Aimv2Model
from tests.support.hub_cache import INDEX, NAME, WEIGHTS
from tests.support.hub_server import redirect, serve
from tests.support.two_towers import save_two_towers


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model, in one file and in shards, and what a repository holds beside it."""
    folder = save_two_towers(tmp_path_factory.mktemp("model") / "whole")
    shards = folder.with_name("shards")
    Aimv2Model.from_pretrained(folder).save_pretrained(shards, max_shard_size="1MB")
    return {path.name: path.read_bytes() for path in (*folder.iterdir(), *shards.iterdir())}


@pytest.fixture
def whole(model):
    return {name: data for name, data in model.items() if "-of-" not in name and name != INDEX}


@pytest.fixture
def shards(model):
    return {name: data for name, data in model.items() if name != WEIGHTS}


@pytest.fixture
def hub(whole, monkeypatch):
    beside = {"mlx_model.safetensors": b"mlx", "flax_model.msgpack": b"flax", "pytorch_model.bin": b"pickle"}
    with serve({NAME: {**whole, **beside, "README.md": b"# read me", "code.py": b"raise SystemExit"}}) as hub:
        redirect(hub, monkeypatch)
        monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub waits before it tries again
        yield hub
