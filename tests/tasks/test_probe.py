"""A probe's file, what it refuses, and its use on pictures."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aimv2_np import CheckpointError
from aimv2_np.network.attention import softmax
from aimv2_np.storage import SafetensorsFile
from aimv2_np.tasks import ImageEmbedder, classify_by_probe, load_probe
from aimv2_np.tasks.probe import padded
from tests.support.pictures import photo
from tests.support.probes import CLASSES, attentive_probe, clusters, linear_probe, tokens

BOTH = {"linear": (linear_probe, clusters), "attentive": (attentive_probe, tokens)}


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_saved_is_the_same_probe(kind, tmp_path):
    probe, features = BOTH[kind][0](), BOTH[kind][1]()[0]
    probe.save(tmp_path / "probe.safetensors")
    again = load_probe(tmp_path / "probe.safetensors")
    assert (again.kind, again.classes, again.width, again.facts) == (kind, CLASSES, probe.width, probe.facts)
    np.testing.assert_array_equal(again.logits(features), probe.logits(features))
    with pytest.raises(FileExistsError):
        probe.save(tmp_path / "probe.safetensors")
    probe.save(tmp_path / "probe.safetensors", overwrite=True)


def test_logits_are_a_linear_map_and_shares_their_softmax():
    probe, (features, labels) = linear_probe(), clusters()
    expected = features @ probe.network.weight.T + probe.network.bias
    np.testing.assert_allclose(probe.logits(features), expected, rtol=1e-5)
    judged = probe.judge(features, labels)
    np.testing.assert_allclose(judged.shares, softmax(probe.logits(features)), rtol=1e-12)
    assert judged.actual.tolist() == [CLASSES.index(label) for label in labels]
    assert probe.judge(features).actual is None


def test_tokens_of_different_numbers_are_each_as_alone():
    probe = attentive_probe()
    some = [tokens(1, number, seed=number)[0][0] for number in (3, 7, 5)]
    alone = np.concatenate([probe.logits([one]) for one in some])
    np.testing.assert_allclose(probe.logits(some), alone, rtol=1e-4, atol=1e-5)


def test_padding():
    x, keys = padded([np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)])
    assert x.sum(axis=(1, 2)).tolist() == [6, 12]
    assert keys.sum(axis=1).tolist() == [2, 4]
    assert padded([np.ones((2, 3), np.float32)] * 2)[1] is None


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (np.ones((2, 5)), r"picture 0 are of shape \(5,\); expected a vector of 6 numbers"),
        (np.ones((2, 4, 6)), r"expected a vector of 6"),
        (np.array([[0.0] * 6, [np.nan] * 6]), "picture 1 hold NaN"),
        (np.ones((0, 6)), "features is empty"),
    ],
)
def test_features_that_do_not_fit(features, said):
    with pytest.raises(ValueError, match=said):
        linear_probe().logits(features)


def test_labels_that_are_none_of_its_classes():
    with pytest.raises(ValueError, match="'cow'"):
        linear_probe().judge(clusters(1)[0], ["cow"])


def damage(path, arrays=None, **metadata):
    """The file with other arrays or metadata; None leaves one out."""
    kept, told = load_file(path), dict(SafetensorsFile(path).metadata)
    for whole, changes in ((kept, arrays or {}), (told, metadata)):
        whole.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del whole[name]
    save_file(kept, path, told)


WRONG = {
    "format": ({}, {"format": "aimv2_np.features/1"}, "is no probe; expected a file that"),
    "kind": ({}, {"kind": "deep"}, "kind is 'deep'"),
    "no classes": ({}, {"classes": None}, "classes is ''"),
    "one class": ({}, {"classes": '["a"]'}, "at least two"),
    "twice": ({}, {"classes": '["a", "a", "b"]'}, "at least two different"),
    "numbers": ({}, {"classes": "[1, 2, 3]"}, "classes is"),
    "deep": ({}, {"classes": "[" * 100_000}, "classes is"),
    "more classes": ({}, {"classes": '["a", "b", "c", "d"]'}, "expected"),
    "missing": ({"k.weight": None}, {}, "'k.weight' is missing"),
    "too many": ({"extra": np.ones(3, np.float32)}, {}, "'extra' is"),
    "shape": ({"v.weight": np.ones((8, 7), np.float32)}, {}, "'v.weight' is"),
    "NaN": ({"linear.weight": np.full((3, 8), np.nan, np.float32)}, {}, "NaN or infinity"),
    "heads": ({}, {"heads": "3"}, "heads is '3'"),
    "no heads": ({}, {"heads": None}, "heads is ''"),
    "eps": ({}, {"eps": "nan"}, "eps 'nan'"),
    "variance": ({"bn.running_var": -np.ones(8, np.float32)}, {}, "not negative"),
    "features": ({}, {"features": "pooled"}, "features is 'pooled'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_are_no_probe(name, tmp_path):
    arrays, metadata, said = WRONG[name]
    path = tmp_path / "probe.safetensors"
    attentive_probe().save(path)
    damage(path, arrays, **metadata)
    with pytest.raises(CheckpointError, match=said):
        load_probe(path)


def test_a_file_that_is_cut_off_or_missing(tmp_path):
    path = tmp_path / "probe.safetensors"
    linear_probe().save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError):
        load_probe(path)
    with pytest.raises(FileNotFoundError):
        load_probe(tmp_path / "nothing")


@pytest.fixture
def of_two_towers(two_towers):
    embedder = ImageEmbedder(two_towers, "pooled")
    return linear_probe(16, weights_hash=embedder.weights_hash("float32"), dtype="float32", normalized="true")


def test_pictures(of_two_towers, two_towers):
    pictures, done = [photo(40, 60, seed=seed) for seed in range(3)], []
    found = classify_by_probe(pictures, of_two_towers, model=two_towers, progress=done.append, batch_size=2)
    vectors = ImageEmbedder(two_towers, "pooled", normalize=True)({"image": pictures})["features"]
    np.testing.assert_allclose(found.scores, of_two_towers.logits(vectors), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert found.labels == CLASSES
    assert done == [2, 3]
    one = classify_by_probe(pictures[0], of_two_towers, model=two_towers)
    np.testing.assert_allclose(one.scores, found.scores[:1], rtol=1e-4, atol=1e-5)


def test_a_probe_of_another_model(of_two_towers, two_towers):
    picture = photo(40, 60)
    with pytest.raises(ValueError, match=r"pooled features of 128 numbers, and the probe is of 16; pass the model"):
        classify_by_probe(picture, of_two_towers)
    other = linear_probe(16, weights_hash="another")
    with pytest.raises(ValueError, match=r"trained on 'a model', and .* has other weights"):
        classify_by_probe(picture, other, model=two_towers)
    with pytest.raises(ValueError, match="images is empty"):
        classify_by_probe([], other, model=two_towers)


def test_names_of_classes_are_json(tmp_path):
    probe = linear_probe()
    probe.save(tmp_path / "probe.safetensors")
    assert json.loads(SafetensorsFile(tmp_path / "probe.safetensors").metadata["classes"]) == list(CLASSES)
