"""Labelled pictures: the class is the folder, of a folder of pictures and of a file of their features alike."""

import numpy as np
import pytest

from aimv2_np.tasks import open_features
from aimv2_np.tasks.labelled import knn_folders, load_labelled
from tests.support.feature_files import write_features
from tests.support.pictures import photo


@pytest.fixture
def classes(tmp_path):
    for label, seeds in {"cats": (1, 2, 3), "dogs": (4, 5)}.items():
        (tmp_path / "photos" / label).mkdir(parents=True)
        for seed in seeds:
            photo(20, 20, seed=seed).save(tmp_path / "photos" / label / f"{seed}.png")
    return tmp_path / "photos"


def test_a_folder_and_its_file_of_features_have_the_same_classes(classes, two_towers, tmp_path):
    output = tmp_path / "features.safetensors"
    by_folder = load_labelled(classes, output, model=two_towers)
    by_file = load_labelled(output, tmp_path / "unused.safetensors")
    assert by_folder.labels == by_file.labels == ("cats", "cats", "cats", "dogs", "dogs")
    assert by_folder.names == by_file.names
    assert by_folder.facts == by_file.facts
    np.testing.assert_array_equal(by_folder.features, by_file.features)
    assert not (tmp_path / "unused.safetensors").exists()


def test_pictures_are_their_own_neighbours(classes, two_towers):
    result, known, asked = knn_folders(classes, classes, k=1, model=two_towers)
    assert result.accuracy == 1
    assert known.labels == asked.labels


def test_what_is_saved_is_used_again(classes, two_towers, tmp_path):
    knn_folders(classes, classes, k=1, save=tmp_path / "kept", model=two_towers)
    written = (tmp_path / "kept" / "train.safetensors").stat().st_mtime_ns
    knn_folders(classes, classes, k=1, save=tmp_path / "kept", model=two_towers)
    assert (tmp_path / "kept" / "train.safetensors").stat().st_mtime_ns == written
    assert len(open_features(tmp_path / "kept" / "test.safetensors").names) == 5


def test_a_picture_outside_the_folders_of_the_classes(classes, two_towers, tmp_path):
    photo(20, 20, seed=9).save(classes / "stray.png")
    with pytest.raises(ValueError, match=r"stray\.png"):
        load_labelled(classes, tmp_path / "features.safetensors", model=two_towers)


def test_features_of_two_kinds_are_not_compared(tmp_path):
    files = [tmp_path / f"{kind}.safetensors" for kind in ("pooled", "mean")]
    for path in files:
        write_features(path, np.eye(3), path.stem)
    with pytest.raises(ValueError, match=r"names no folder"):
        load_labelled(files[0], tmp_path / "out.safetensors")


@pytest.mark.parametrize(("name", "error"), [("nowhere", FileNotFoundError), ("notes.txt", ValueError)])
def test_neither_a_folder_nor_features(tmp_path, name, error):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(error, match=name):
        load_labelled(tmp_path / name, tmp_path / "out.safetensors")
