import random

import numpy as np
import pytest

from aimv2_np import CheckpointError
from aimv2_np.storage import save_safetensors
from aimv2_np.tasks import embed, open_features, search
from aimv2_np.tasks.embedding.feature_file import FORMAT, Names, check_output, encode_name, write_features
from tests.support.descriptors import at_every_limit
from tests.support.pictures import photo


def arrays(**changes):
    names = b"a.pngbb.png"
    whole = {
        "features": np.ones((2, 4), np.float32),
        "names": np.frombuffer(names, np.uint8),
        "name_ends": np.array([5, 11]),
        "broken": np.frombuffer(b"[]", np.uint8),
        **changes,
    }
    return {name: array for name, array in whole.items() if array is not None}


def test_a_file_of_ones_own_making_is_read(tmp_path):
    save_safetensors(tmp_path / "f.safetensors", arrays(), {"format": FORMAT, "features": "mean"})
    file = open_features(tmp_path / "f.safetensors")
    assert list(file.names) == ["a.png", "bb.png"]
    assert file.names[-1] == "bb.png"
    assert file.names[:5] == ["a.png", "bb.png"]
    with pytest.raises(IndexError):
        file.names[2]
    np.savez(tmp_path / "f.npz", **arrays(), metadata=np.array(f'{{"format": "{FORMAT}", "features": "mean"}}'))
    other = open_features(tmp_path / "f.npz")
    np.testing.assert_array_equal(other.features, file.features)
    assert other.metadata == file.metadata
    assert [start for start, _ in file.blocks(1)] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, "features are missing"),
        ({"features": np.ones((2, 4), np.int32)}, "features are missing, or of a wrong dtype"),
        ({"features": np.ones((3, 4), np.float32)}, "3 rows of features and names for 2"),
        ({"features": np.ones(2, np.float32)}, "-1 rows of features"),
        ({"features": np.ones((2, 4), np.int8)}, "scales are missing"),
        ({"features": np.ones((2, 4), np.int8), "scales": np.ones((2, 4), np.float32)}, "scales are not one above"),
        ({"features": np.ones((2, 4), np.int8), "scales": np.array([1, 0], np.float32)}, "scales are not one above"),
        ({"features": np.ones((2, 4), np.int8), "scales": np.array([np.inf, 1])}, "scales are not one above"),
        ({"name_ends": np.array([5, 12])}, "names for 2"),
        ({"name_ends": np.array([11, 5])}, "names for 2"),
        ({"counts": np.array([1, 2])}, "counts do not add up to its 2 vectors"),
        ({"counts": np.array([3, -1])}, "counts do not add up"),
        ({"broken": np.frombuffer(b"[1]", np.uint8)}, "list of broken pictures cannot be read"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, changes, message):
    save_safetensors(tmp_path / "f.safetensors", arrays(**changes), {"format": FORMAT})
    with pytest.raises(CheckpointError, match=message):
        open_features(tmp_path / "f.safetensors")


def test_files_that_are_something_else(tmp_path):
    save_safetensors(tmp_path / "f.safetensors", arrays())
    with pytest.raises(CheckpointError, match=r"no file of features: its format is 'pt'.*aimv2-np embed"):
        open_features(tmp_path / "f.safetensors")
    (tmp_path / "f.npz").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="no file of features, or damaged"):
        open_features(tmp_path / "f.npz")
    np.savez_compressed(tmp_path / "g.npz", **arrays())
    with pytest.raises(CheckpointError, match="is compressed"):
        open_features(tmp_path / "g.npz")
    objects = np.array([{"a": 1}], object)
    np.savez(tmp_path / "h.npz", features=objects, allow_pickle=True)
    with pytest.raises(CheckpointError, match="no array of numbers"):
        open_features(tmp_path / "h.npz")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_features(tmp_path / "nowhere.npz")
    (tmp_path / "begun.npz.parts").mkdir()
    with pytest.raises(FileNotFoundError, match=r"begun.npz.parts holds a run that is not complete"):
        open_features(tmp_path / "begun.npz")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_cut_short_anywhere_it_is_an_error(two_towers, tmp_path, suffix):
    photo(20, 30).save(tmp_path / "a.png")
    path = tmp_path / f"f{suffix}"
    embed([tmp_path / "a.png"], path, model=two_towers)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            open_features(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_damaged_anywhere_it_is_an_error_that_names_the_file_or_can_be_searched(tmp_path, suffix):
    path, draw = tmp_path / f"f{suffix}", random.Random(0)
    with path.open("wb") as file:
        write_features(file, suffix, {"features": np.eye(3, 4, dtype=np.float32)}, NAMES, BROKEN, {"format": FORMAT})
    whole = path.read_bytes()
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 2)):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            found = open_features(path)
            assert len(list(found.names)) == len(found)
            search(found, np.ones(4), threads=1)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_names_of_any_bytes():
    names = ["a.png", "", "ü\udcff.png", "星.jpg"]
    encoded = [encode_name(name) for name in names]
    ends = np.cumsum([len(data) for data in encoded])
    assert list(Names(np.frombuffer(b"".join(encoded), np.uint8), ends)) == names


def test_a_million_names():
    text = np.frombuffer(b"".join(b"photos/%07d.jpg" % i for i in range(10**6)), np.uint8)
    names = Names(text, np.arange(1, 10**6 + 1) * 18)
    assert len(names) == 10**6
    assert (names[0], names[987_654]) == ("photos/0000000.jpg", "photos/0987654.jpg")
    assert sum(name == f"photos/{row:07d}.jpg" for row, name in enumerate(names)) == 10**6


NAMES, BROKEN = ["a.png", "ü.png", "d.png"], (("b.png", "cut short"),)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("counts", [None, [1, 0, 3]])
def test_what_is_written_is_read(tmp_path, suffix, counts):
    path, features = tmp_path / f"f{suffix}", np.arange(8, dtype=np.float32).reshape(4, 2)
    written = {"features": features} if counts else {"features": features[:3]}
    written |= {"counts": np.array(counts)} if counts else {}
    with path.open("wb") as file:
        write_features(file, suffix, written, NAMES, BROKEN, {"format": FORMAT, "features": "pooled"})
    found = open_features(path)
    np.testing.assert_array_equal(found.features, written["features"])
    assert (list(found.names), found.broken, found.kind) == (NAMES, BROKEN, "pooled")
    if counts:
        np.testing.assert_array_equal(found.tokens(-1), features[1:])


@pytest.mark.parametrize("name", ["features.txt", "features"])
def test_a_suffix_that_says_no_format(tmp_path, name):
    with pytest.raises(ValueError, match=r"expected one of \.safetensors, \.npz, \.parquet"):
        check_output(tmp_path / name)


@pytest.mark.parametrize("name", ["a.safetensors", "a.NPZ"])
def test_formats_that_need_no_library(tmp_path, name):
    check_output(tmp_path / name)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_too_many_open_files_are_no_fault_of_the_file(tmp_path, suffix):
    photo(20, 20).save(tmp_path / "p.png")
    path = tmp_path / f"f{suffix}"
    embed([tmp_path / "p.png"], path)
    assert at_every_limit(lambda: open_features(path)) >= 1
    assert at_every_limit(lambda: embed([tmp_path / "p.png"], path)) >= 1  # "complete already"


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".parquet"])
def test_a_file_that_must_not_be_read_is_not_called_damaged(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"f{suffix}"
    path.write_bytes(b"anything")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # who tests may be root, who reads all
    with pytest.raises(PermissionError, match=rf"Permission denied.*f{suffix}"):
        open_features(path)
