"""Groups of pictures that are alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aimv2_np import CheckpointError
from aimv2_np.tasks import embed, near_duplicates, open_features
from aimv2_np.tasks.duplicates import same_rows
from aimv2_np.tasks.embedding.feature_file import FeatureFile
from aimv2_np.tasks.similar import cosines_of_pairs
from tests.support.feature_files import write_features
from tests.support.pictures import photo
from tests.tasks.test_components import searched
from tests.tasks.test_similar import brute, drawn


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 50), st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.5, 0.9, 1.0])
)
def test_groups_are_the_components_of_all_pairs(tmp_path_factory, seed, rows, spread, least):
    vectors = drawn(seed, rows, 12, "float32", spread, 5)
    file = write_features(tmp_path_factory.mktemp("alike") / "f.npz", vectors)
    # What has the same bytes is the same picture, be it a black one without a direction.
    pairs = brute(vectors, least) + [(int(first), row) for row, first in enumerate(same_rows(vectors))]
    firsts = searched(rows, pairs)
    expected = [
        [row for row in range(rows) if firsts[row] == first] for first in sorted(set(firsts)) if firsts.count(first) > 1
    ]
    groups = near_duplicates(file, least, threads=2)
    assert [[hit.row for hit in group] for group in groups] == expected
    for group in groups:
        firsts = np.full(len(group), group[0].row)
        cosines = cosines_of_pairs(vectors, firsts, np.array([hit.row for hit in group]))
        assert group[0].score == 1
        assert [hit.score for hit in group[1:]] == cosines[1:].tolist()
        assert [hit.name for hit in group] == [f"{hit.row}.png" for hit in group]


def test_copies_and_near_copies_of_pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        photo(64, 64, seed=number).save(folder / f"{number}.png")
    photo(64, 64, seed=1).save(folder / "copy.png")
    shifted = np.asarray(photo(64, 64, seed=2)).astype(int) + 2
    Image.fromarray(shifted.clip(0, 255).astype(np.uint8)).save(folder / "lighter.png")
    for store in ("float32", "float16", "int8"):
        embed([folder], tmp_path / f"{store}.npz", features="mean", store=store)
        groups = near_duplicates(open_features(tmp_path / f"{store}.npz"), 0.9999)
        named = {tuple(hit.name.rsplit("/")[-1] for hit in group) for group in groups}
        assert named == {("1.png", "copy.png"), ("2.png", "lighter.png")}


def test_same_rows():
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 4], [1, 2], [0, 0]], np.float32)
    assert same_rows(rows).tolist() == [0, 1, 0, 1, 0, 5]
    assert same_rows(rows[:0]).tolist() == []


def test_what_cannot_be_compared(tmp_path):
    file = write_features(tmp_path / "f.npz", np.array([[1, 2], [3, 4], [3, 4], [np.inf, 1]]))
    with pytest.raises(CheckpointError, match=r"f.npz: the vector in row 3 is not finite"):
        near_duplicates(file)
    file = write_features(tmp_path / "sound.npz", np.eye(3))
    with pytest.raises(ValueError, match="least is 2; expected a cosine above 0"):
        near_duplicates(file, 2)
    with pytest.raises(ValueError, match="threads is 0; expected a whole number"):
        near_duplicates(file, threads=0)
    tokens = FeatureFile(file.path, {"features": "tokens"}, file.names, file.arrays, ())
    with pytest.raises(ValueError, match="vectors of patches"):
        near_duplicates(tokens)
