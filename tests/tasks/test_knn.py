import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.data import sample_pictures
from aimv2_np.errors import CheckpointError
from aimv2_np.tasks import embed, knn, knn_folders, open_features
from tests.support.pictures import photo

WEIGHTS = ("uniform", "distance", "softmax")


def sets(seed, train=40, test=15, size=6, classes=3):
    """Clusters that overlap."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, size))
    names = [f"class {i}" for i in range(classes)]

    def draw(count):
        which = rng.integers(0, classes, count)
        which[:classes] = np.arange(classes)
        vectors = (centres[which] + rng.standard_normal((count, size))).astype(np.float32)
        return vectors * rng.uniform(0.1, 9, (count, 1)).astype(np.float32), [names[i] for i in which]

    return *draw(train), *draw(test)


def by_hand(train, labels, test, k, weights):
    """Shares of one picture at a time, in Python's floats."""
    classes, result = sorted(set(labels)), []
    for x in test.astype(float):
        cosines = [float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for y in train.astype(float)]
        nearest = sorted(range(len(train)), key=lambda n: -cosines[n])[:k]
        weigh = {"uniform": lambda c: 1, "distance": lambda c: 1 / (1 - c), "softmax": lambda c: np.exp(c / 0.07)}
        votes = dict.fromkeys(classes, 0.0)
        for n in nearest:
            votes[labels[n]] += weigh[weights](cosines[n])
        result.append([votes[name] / sum(votes.values()) for name in classes])
    return np.array(result)


@pytest.mark.parametrize("weights", WEIGHTS)
@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 40), block=st.sampled_from([1, 50, 2**21]),
       queries=st.sampled_from([1, 4, 1024]))  # fmt: skip
def test_votes_of_the_nearest(weights, seed, k, block, queries):
    module = sys.modules["aimv2_np.tasks.knn"]  # the package has the function under that name
    before = module.BLOCK, module.QUERIES
    try:
        module.BLOCK, module.QUERIES = block, queries  # so that small sets too are cut into pieces
        train, labels, test, actual = sets(seed)
        result = knn(train, labels, test, actual, k=k, weights=weights)
    finally:
        module.BLOCK, module.QUERIES = before
    np.testing.assert_allclose(result.shares, by_hand(train, labels, test, k, weights), atol=1e-9)
    assert result.predicted.tolist() == result.shares.argmax(axis=1).tolist()
    right = [a == b for a, b in zip(result.labels, actual, strict=True)]
    assert result.accuracy == pytest.approx(np.mean(right))
    assert result.confusion.sum() == len(test)
    assert result.confusion.trace() == sum(right)
    for i, name in enumerate(result.classes):
        assert result.confusion[i].sum() == actual.count(name)


def test_a_picture_that_is_there_is_its_own_class():
    train, labels, *_ = sets(1)
    for weights in ("distance", "softmax"):
        assert knn(train, labels, train[:9], labels[:9], k=1, weights=weights).accuracy == 1
    same = knn(train, labels, train[:9] * 3, k=7, weights="distance")
    np.testing.assert_allclose(same.shares.max(axis=1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="own classes were not given"):
        assert same.accuracy


def test_twenty_neighbours_or_all_of_fewer():
    train, labels, test, _ = sets(2)
    assert knn(train, labels, test).k == 20
    assert knn(train[:5], labels[:5], test).k == 5


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_length_of_vectors_does_not_matter(scale):
    train, labels, test, _ = sets(3)
    scaled = knn((train * scale).astype(np.float32), labels, test)
    np.testing.assert_allclose(scaled.shares, knn(train, labels, test).shares, atol=1e-5)  # rounding of the scaling


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": np.ones((2, 5))}, "vectors of 6 numbers and test of 5"),
        ({"test": np.ones(6)}, r"test is float64 of shape \(6,\)"),
        ({"train": np.zeros((40, 6))}, r"train holds a vector \(row 0\) that is zero"),
        ({"test": np.full((1, 6), np.nan), "test_labels": None}, r"test holds a vector \(row 0\)"),
        ({"train_labels": ["a"]}, "train_labels has 1 classes for 40 pictures"),
        ({"train_labels": "a" * 40}, "expected a list of strings"),
        ({"test_labels": ["z"] * 15}, "train has no picture of 'z'"),
        ({"k": 41}, "k is 41; expected a whole number from 1 to 40"),
        ({"k": 0}, "k is 0"),
        ({"k": True}, "k is True"),
        ({"weights": "cosine"}, "weights is 'cosine'; expected one of uniform, distance, softmax"),
    ],
)
def test_what_makes_no_sense(changes, message):
    train, labels, test, actual = sets(4)
    given_ = {"train": train, "train_labels": labels, "test": test, "test_labels": actual} | changes
    with pytest.raises(ValueError, match=message):
        knn(**given_)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The sample pictures' colours, as classes; two draws of them."""
    place = tmp_path_factory.mktemp("classes")
    for name, seeds in (("train", range(10)), ("test", range(10, 13))):
        for seed in seeds:
            for i, sample in enumerate(sample_pictures(seed)[:5]):
                folder = place / name / sample.caption.split()[-2]
                folder.mkdir(parents=True, exist_ok=True)
                sample.picture.save(folder / f"{seed}-{i}.png")
    return place


def test_folders(folders, tmp_path):
    result, known, asked = knn_folders(folders / "train", folders / "test", save=tmp_path / "features", k=3)
    assert result.classes == tuple(sorted(path.name for path in (folders / "train").iterdir()))
    assert list(asked.labels) == [name.split("/")[-2] for name in asked.names]
    assert result.accuracy > 0.25  # fifty small pictures to learn eight colours from; chance is an eighth
    files = [tmp_path / "features" / f"{name}.safetensors" for name in ("train", "test")]
    again, *_ = knn_folders(*files, k=3)
    np.testing.assert_array_equal(again.shares, result.shares)
    done = []
    kept = knn_folders(
        folders / "train", folders / "test", save=tmp_path / "features", k=3, progress=lambda *step: done.append(step)
    )
    assert done == []  # complete: nothing is computed again
    np.testing.assert_array_equal(kept[0].shares, result.shares)
    with pytest.raises(FileExistsError, match=r"train.safetensors holds other features: of another model"):
        knn_folders(folders / "train", folders / "test", save=tmp_path / "features", features="mean")
    without, known_too, _ = knn_folders(folders / "train", folders / "test", k=3)
    np.testing.assert_array_equal(without.shares, result.shares)
    np.testing.assert_array_equal(known_too.features, known.features)


def test_folders_that_make_no_sense(folders, tmp_path):
    (tmp_path / "flat").mkdir()
    photo(20, 20).save(tmp_path / "flat" / "a.png")
    with pytest.raises(ValueError, match=r"a.png lies in .*flat itself; expected a folder for each class"):
        knn_folders(tmp_path / "flat", folders / "test")
    with pytest.raises(FileNotFoundError, match="there is no missing; expected a folder of classes"):
        knn_folders("missing", folders / "test")
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(ValueError, match=r"text.txt is no folder, and no file of features"):
        knn_folders(tmp_path / "text.txt", folders / "test")
    with pytest.raises((FileNotFoundError, CheckpointError), match=r"missing.npz"):
        knn_folders("missing.npz", folders / "test")


def test_files_of_different_features_are_not_compared(folders, tmp_path):
    embed([folders / "train"], tmp_path / "mean.npz", features="mean")
    embed([folders / "test"], tmp_path / "pooled.npz", features="pooled")
    embed([folders / "test"], tmp_path / "tokens.npz", features="tokens")
    with pytest.raises(ValueError, match=r"are 'mean' and those of .* 'pooled', or of two models"):
        knn_folders(tmp_path / "mean.npz", tmp_path / "pooled.npz")
    with pytest.raises(ValueError, match="holds vectors of patches"):
        knn_folders(tmp_path / "mean.npz", tmp_path / "tokens.npz")
    assert open_features(tmp_path / "mean.npz").kind == "mean"
