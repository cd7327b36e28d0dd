"""The hub when something goes wrong: the error says what to do, and the cache is as good as before."""

import os

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2Processor, CheckpointError, load
from tests.support.hub_cache import NAME, NOBODY, OTHER, WEIGHTS, assert_loads, half_files, in_snapshot
from tests.support.hub_server import Fault, Repository

TRANSPORT = (ConnectionError, "could not be fetched: the connection broke; try again")
TROUBLE = "could not be fetched: the hub is in trouble; try again later"
NO_HUB = (ConnectionError, "could not be fetched: what answers is no hub; check HF_ENDPOINT and the proxy")
SIZE = (
    OSError,
    "came with a file of the wrong size: try again, and if that does not help, delete .*--org--model f",
)
LOST = "lists a file that it does not have"
FAULTS = {
    "weights dropped": (WEIGHTS, Fault(drop_after=1000), *TRANSPORT),
    "weights reset": (WEIGHTS, Fault(drop_after=1000, reset=True), *TRANSPORT),
    "configuration dropped": ("config.json", Fault(drop_after=5), *TRANSPORT),
    "listing dropped": ("api", Fault(drop_after=5), *TRANSPORT),
    "listing reset": ("api", Fault(drop_after=5, reset=True), *TRANSPORT),
    "less than announced": (WEIGHTS, Fault(announce=3_000_000), *SIZE),
    "more than announced": (WEIGHTS, Fault(announce=1000), *SIZE),
    "configuration of another size": ("config.json", Fault(announce=10), *SIZE),
    "a page instead of weights": (WEIGHTS, Fault(content=b"<html>"), *SIZE),
    "weights 500": (WEIGHTS, Fault(status=500), HfHubHTTPError, TROUBLE),
    "configuration 500": ("config.json", Fault(status=500), LocalEntryNotFoundError, TROUBLE),
    "listing 503": ("api", Fault(status=503), LocalEntryNotFoundError, TROUBLE),
    "too many requests": (WEIGHTS, Fault(status=429), HfHubHTTPError, "the hub wants fewer requests; wait some"),
    "forbidden": (WEIGHTS, Fault(status=403), HfHubHTTPError, "is not open to this user: pass a valid token=, or log"),
    "weights lost": (WEIGHTS, Fault(status=404), HfHubHTTPError, LOST),
    "entry lost": ("config.json", Fault(status=404, code="EntryNotFound"), EntryNotFoundError, LOST),
    "a login page": ("api", Fault(content=b"<html>log in here</html>"), *NO_HUB),
    "another listing": ("api", Fault(content=b"[]"), *NO_HUB),
    "an empty listing": ("api", Fault(content=b"{}"), *NO_HUB),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_and_the_cache_stays_sound(hub, whole, tmp_path, case):
    file, fault, kind, advice = FAULTS[case]
    hub.faults[file] = fault
    with pytest.raises(kind, match=rf"^{NAME} .*{advice}"):
        Aimv2Model.from_pretrained(NAME, cache_dir=tmp_path)
    assert half_files(tmp_path) == []
    assert file not in in_snapshot(tmp_path)
    with pytest.raises((LocalEntryNotFoundError, FileNotFoundError)):
        load(NAME, cache_dir=tmp_path, local_files_only=True)
    hub.faults.clear()
    hub.requests.clear()
    assert_loads(tmp_path, whole)
    assert file == "api" or file in hub.fetched()


def test_what_the_hub_advises_itself_is_left_out_where_it_is_no_option_here(hub, tmp_path):
    hub.faults[WEIGHTS] = Fault(announce=1000)
    with pytest.raises(OSError, match=r"\[Consistency check failed: .*1000 but has size 2417092 .*\]$") as error:
        load(NAME, cache_dir=tmp_path)
    assert "force_download" not in str(error.value)


def test_complete_files_are_kept_when_another_breaks(hub, shards, tmp_path):
    *complete, broken = sorted(name for name in shards if "-of-" in name)
    hub.repositories[OTHER] = Repository(shards)
    hub.faults[broken] = Fault(drop_after=10)
    with pytest.raises(ConnectionError):
        load(OTHER, cache_dir=tmp_path)
    assert broken not in in_snapshot(tmp_path, OTHER)
    kept = set(in_snapshot(tmp_path, OTHER))
    hub.faults.clear()
    hub.requests.clear()
    load(OTHER, cache_dir=tmp_path)
    assert set(hub.fetched()) == {*complete, broken} - kept


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
def test_a_dropped_download_goes_on_where_it_was(hub, whole, monkeypatch, tmp_path, file):
    size = 64
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", size)  # what has arrived is written in such pieces
    hub.faults[file] = Fault(drop_after=5 * size + 7, times=2)
    assert_loads(tmp_path, whole)
    assert hub.ranges == [(file, f"bytes={5 * size}-"), (file, f"bytes={10 * size}-")]


@pytest.mark.parametrize(
    ("attribute", "kind", "advice"),
    [
        ("gated", GatedRepoError, "asks for consent to its terms: give it on its page, then pass token= or log in"),
        ("hidden", GatedRepoError, "asks for consent to its terms: give it on its page, then pass token= or log in"),
        ("private", HfHubHTTPError, "is not open to this user: pass a valid token=, or log in"),
    ],
)
def test_what_is_not_open(hub, whole, tmp_path, attribute, kind, advice):
    getattr(hub, attribute).add(NAME)
    for read in (load, Aimv2Model.from_pretrained, Aimv2Processor.from_pretrained, Aimv2Config.from_pretrained):
        with pytest.raises(kind, match=f"^{NAME} {advice}"):
            read(NAME, cache_dir=tmp_path)
    assert in_snapshot(tmp_path) == []
    getattr(hub, attribute).clear()
    assert_loads(tmp_path, whole)


def test_names_that_are_not_there(hub, whole, tmp_path):
    for read in (load, Aimv2Model.from_pretrained, Aimv2Processor.from_pretrained, Aimv2Config.from_pretrained):
        with pytest.raises(RepositoryNotFoundError, match=r"^org/none was not found on the hub, nor is there a folder"):
            read("org/none", cache_dir=tmp_path)
        with pytest.raises(RevisionNotFoundError, match=f"^{NAME} has no such revision: check revision='v9', a branch"):
            read(NAME, cache_dir=tmp_path, revision="v9")
    assert in_snapshot(tmp_path) == []
    assert_loads(tmp_path, whole)


def test_a_revision_that_is_no_string(hub, tmp_path):
    with pytest.raises(TypeError, match=r"^revision is 3; expected the name of a branch"):
        load(NAME, cache_dir=tmp_path, revision=3)


@pytest.mark.parametrize("endpoint", [NOBODY, "no address"])
def test_an_endpoint_where_no_hub_is(hub, monkeypatch, tmp_path, endpoint):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    with pytest.raises(OSError, match=rf"^{NAME} .*could not be fetched: .*, or pass the path of a folder"):
        load(NAME, cache_dir=tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(hub, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="make room for the hub's cache, or pass cache_dir= or set HF_HOME"):
        load(NAME, cache_dir=tmp_path)


def test_a_cache_where_a_file_is_in_the_way(hub, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(OSError, match="make room for the hub's cache, or pass cache_dir= or set HF_HOME"):
        load(NAME, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("file", "read"),
    [
        (WEIGHTS, load),
        ("config.json", load),
        ("config.json", Aimv2Config.from_pretrained),
        ("preprocessor_config.json", Aimv2Processor.from_pretrained),
        ("vocab.json", Aimv2Processor.from_pretrained),
    ],
)
def test_a_file_that_was_damaged_in_the_cache(hub, whole, tmp_path, file, read):
    """The hub's cache never looks at what it has again: the message names the file to delete, and that helps."""
    read(NAME, cache_dir=tmp_path)
    (path,) = tmp_path.glob(f"models--org--model/snapshots/*/{file}")
    blob = path.resolve()
    blob.write_bytes(blob.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=rf"is fetched again only after you delete {blob}\)$"):
        read(NAME, cache_dir=tmp_path)
    blob.unlink()
    read(NAME, cache_dir=tmp_path)
    assert path.read_bytes() == whole[file]
