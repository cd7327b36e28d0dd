import numpy as np
import pytest

from aimv2_np.tasks import open_features
from aimv2_np.training.probes import probe_folders
from tests.support.pictures import photo
from tests.support.probes import clusters, tokens, write_labelled

ATTENTIVE = {"rates": (1e-2,), "epochs": 20, "heads": 2}


@pytest.fixture
def files(tmp_path):
    return [write_labelled(tmp_path / f"{seed}.safetensors", *clusters(45, seed=seed)) for seed in (1, 2)]


def test_files_of_vectors(files):
    run = probe_folders(*files)
    assert run.result.accuracy > 0.9
    assert run.probe.facts == {"features": "pooled", "normalized": "false", "weights_hash": "x"}
    assert run.settings == {"strength": min(run.tried, key=lambda it: it.loss).settings["strength"]}
    assert (len(run.train.names), len(run.test.names)) == (45, 45)


def test_nothing_is_chosen_by_the_test_pictures(files, tmp_path):
    features, labels = clusters(45, seed=2)
    turned = write_labelled(tmp_path / "turned.safetensors", features, labels[1:] + labels[:1])
    one, other = probe_folders(files[0], files[1]), probe_folders(files[0], turned)
    np.testing.assert_array_equal(one.probe.network.weight, other.probe.network.weight)
    assert other.result.accuracy < 0.2 < one.result.accuracy


def test_files_of_tokens(tmp_path):
    paths = [write_labelled(tmp_path / f"{seed}.safetensors", *tokens(60, seed=seed), "tokens") for seed in (1, 2)]
    run = probe_folders(*paths, kind="attentive", training=ATTENTIVE)
    assert run.probe.kind == "attentive"
    assert run.result.accuracy > 0.6
    assert run.settings == min(run.tried, key=lambda it: it.loss).settings


def folder(place, seeds):
    for label, brightness in (("dark", 0), ("light", 180)):
        (place / label).mkdir(parents=True)
        for seed in seeds:
            photo(20, 20, seed=seed).point(lambda v, b=brightness: v // 4 + b).save(place / label / f"{seed}.png")
    return place


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_folders(kind, two_towers, tmp_path):
    train, test = folder(tmp_path / "train", range(6)), folder(tmp_path / "test", range(6, 9))
    training = ATTENTIVE if kind == "attentive" else {}
    run = probe_folders(train, test, kind=kind, training=training, keep=tmp_path / "kept", model=two_towers)
    assert run.result.accuracy == 1
    kept = open_features(tmp_path / "kept" / "train.safetensors")
    assert kept.kind == run.probe.facts["features"] == ("tokens" if kind == "attentive" else "projected")
    assert run.probe.facts["weights_hash"] == kept.metadata["weights_hash"]
    again = probe_folders(train, test, kind=kind, training=training, model=two_towers)
    assert again.result.accuracy == 1  # and the features are gone


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "deep"}, "kind is 'deep'"),
        ({"kind": "attentive", "features": "mean"}, "leave it out"),
        ({"kind": "attentive"}, "holds 'pooled' features; expected vectors of patches"),
        ({"features": "tokens"}, "one vector per picture"),
    ],
)
def test_what_makes_no_sense(files, options, said):
    with pytest.raises(ValueError, match=said):
        probe_folders(*files, **options)


def test_sets_that_do_not_fit(files, tmp_path):
    features, labels = clusters(9)
    cow = write_labelled(tmp_path / "cow.safetensors", features, [*labels[:-1], "cow"])
    with pytest.raises(ValueError, match="train has no picture of 'cow', which test has"):
        probe_folders(files[0], cow)
    unit = write_labelled(tmp_path / "unit.safetensors", features, labels, normalized="true")
    with pytest.raises(ValueError, match="one has vectors of length one"):
        probe_folders(files[0], unit)
    mean = write_labelled(tmp_path / "mean.safetensors", features, labels, "mean")
    with pytest.raises(ValueError, match="embed both with the same model"):
        probe_folders(files[0], mean)
    wide = write_labelled(tmp_path / "wide.safetensors", *clusters(9, 7))
    with pytest.raises(ValueError, match="expected a vector of 6 numbers"):
        probe_folders(files[0], wide)
    one = write_labelled(tmp_path / "one.safetensors", features[:1], labels[:1])
    with pytest.raises(ValueError, match="1 class "):
        probe_folders(one, files[1])
    vectors = write_labelled(tmp_path / "vectors.safetensors", *tokens(9), "tokens")
    with pytest.raises(ValueError, match="expected one per picture"):
        probe_folders(vectors, files[1])
