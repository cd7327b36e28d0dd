"""Vectors in fewer bytes: what they lose, what readers get, and what cannot be stored."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.tasks import ImageEmbedder, embed, knn, open_features
from aimv2_np.tasks.embedding.stored import FULL, STORES, Stored, check_store, encode
from aimv2_np.tasks.probe import Probe
from aimv2_np.training.probes.linear import train_linear_probe
from tests.support.feature_files import write_features
from tests.tasks.embedding.test_run import SOUND, Stop, files, stop_after

NARROW = [store for store in STORES if store != FULL]
SUFFIXES = [".safetensors", ".npz"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 50), st.sampled_from(NARROW))
def test_numbers_come_back_to_half_a_step(tmp_path_factory, seed, rows, size, store):
    """Of int8 a step of the vector's scale, of float16 one of the number; zeros and tiny vectors too."""
    rng = np.random.default_rng(seed)
    low, high = (-44, 38) if store == "int8" else (-3, 3)
    x = (rng.standard_normal((rows, size)) * 10.0 ** rng.integers(low, high, (rows, 1))).astype(np.float32)
    x[rng.integers(0, rows)] = 0
    arrays, _ = encode({"features": x}, store, tmp_path_factory.mktemp("stored"))
    stored = Stored(arrays["features"], arrays.get("scales"))
    found = np.asarray(stored)
    largest = np.abs(x).max(axis=1, keepdims=True).astype(np.float64)
    step = np.maximum(largest / 127, np.finfo(np.float32).tiny) if store == "int8" else np.abs(x) * 2.0**-10 + 2.0**-24
    assert (np.abs(found.astype(np.float64) - x) <= 0.5001 * step).all()
    np.testing.assert_array_equal(found[::-1], stored[::-1])
    np.testing.assert_array_equal(found[rows - 1], stored[-1])
    np.testing.assert_array_equal(found[[0, rows - 1]], stored[np.array([0, rows - 1])])
    assert (stored.shape, stored.ndim, stored.dtype, len(stored)) == ((rows, size), 2, np.float32, rows)


def test_the_largest_float32_there_is(tmp_path):
    x = np.array([[np.finfo(np.float32).max, 1.0]], np.float32)
    arrays, _ = encode({"features": x}, "int8", tmp_path)
    assert np.isfinite(np.asarray(Stored(arrays["features"], arrays["scales"]))).all()


@pytest.mark.parametrize("store", NARROW)
def test_the_loss_is_that_of_the_cosines(tmp_path, monkeypatch, store):
    monkeypatch.setattr("aimv2_np.tasks.embedding.stored.BLOCK", 300)
    x = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    arrays, loss = encode({"features": x}, store, tmp_path)
    wide, found = (a.astype(np.float64) for a in (x, np.asarray(Stored(arrays["features"], arrays.get("scales")))))
    cosines = (wide * found).sum(axis=1) / np.linalg.norm(wide, axis=1) / np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(loss, (1 - cosines).max(), rtol=0.01)
    # 1 - cosine is half the square of the error at length one: a step / sqrt(12), of about 3 / 127 of an entry in int8
    # and at most 2^-10 of it in float16.
    assert 0 < loss < {"int8": 4 * (3 / 127) ** 2 / 24, "float16": 4 * 2.0**-20 / 24}[store]


def test_what_is_not_given_in_fewer_bytes_stays_what_it_is(tmp_path):
    x = np.ones((2, 3), np.float32)
    arrays, loss = encode({"features": x}, FULL, tmp_path)
    assert arrays["features"] is x
    assert loss is None
    with pytest.raises(ValueError, match=r"store is 'int4'; expected one of float32, float16, int8"):
        check_store("int4")


@pytest.mark.parametrize(("store", "number"), [("float16", 7e4), ("float16", np.nan), ("int8", np.inf)])
def test_what_cannot_be_stored_is_told(tmp_path, store, number):
    x = np.ones((5, 3), np.float32)
    x[3, 1] = number
    with pytest.raises(ValueError, match=rf"vector 3 has a number of .*, which {store} cannot hold; choose another"):
        encode({"features": x}, store, tmp_path)


@pytest.mark.parametrize("store", NARROW)
@given(st.data())
def test_what_was_stored_is_stored_again_to_the_bit(tmp_path_factory, store, data):
    """So pictures are added to such a file and leave the others as they are."""
    (folder, other), size = (tmp_path_factory.mktemp(it) for it in ("once", "again")), data.draw(st.integers(1, 9))
    numbers = st.floats(-6e4, 6e4, width=32)
    x = np.array(data.draw(st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1)), np.float32)
    once, _ = encode({"features": x}, store, folder)
    again, loss = encode({"features": Stored(once["features"], once.get("scales"))[:]}, store, other)
    assert loss == 0
    for name, array in once.items():
        np.testing.assert_array_equal(array, again[name])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("store", NARROW)
@pytest.mark.parametrize("kind", ["pooled", "tokens"])
def test_pictures_are_added_to_what_is_stored(two_towers, photos, tmp_path, store, suffix, kind):
    options = {
        "model": two_towers,
        "store": store,
        "features": kind,
        "batch_size": 7,
    }  # by whole ones, BLAS rounds alike
    paths = sorted(photos.iterdir())
    embed(paths[:7], tmp_path / f"f{suffix}", **options)
    before = open_features(tmp_path / f"f{suffix}").all_directions().copy()
    done = embed(paths, tmp_path / f"f{suffix}", **options)
    assert done.kept == 7
    np.testing.assert_array_equal(open_features(tmp_path / f"f{suffix}").all_directions()[: len(before)], before)
    embed(paths, tmp_path / f"g{suffix}", **options)
    assert (tmp_path / f"f{suffix}").read_bytes() == (tmp_path / f"g{suffix}").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "int8.bin").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: .*int8\.bin"):
        encode({"features": np.ones((5, 3), np.float32)}, "int8", tmp_path)


def test_rows_are_whole():
    stored = Stored(np.ones((3, 4), np.float16), None)
    with pytest.raises(TypeError, match="expected whole rows"):
        stored[:, 0]
    with pytest.raises(ValueError, match="copy is False"):
        np.asarray(stored, copy=False)
    assert np.asarray(stored, np.float64).dtype == np.float64


@pytest.mark.parametrize("store", NARROW)
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["pooled", "tokens"])
def test_a_file_holds_them_mapped(two_towers, photos, tmp_path, store, suffix, kind):
    options = {"model": two_towers, "features": kind, "normalize": True}
    done = embed([photos], tmp_path / f"f{suffix}", store=store, **options)
    embed([photos], tmp_path / f"full{suffix}", **options)
    file, full = (open_features(tmp_path / f"{name}{suffix}") for name in ("f", "full"))
    assert (file.stored, full.stored) == (store, "float32")
    assert 0 < done.loss < 1e-3
    assert file.arrays["features"].dtype == np.dtype(store)
    assert isinstance(file.features, Stored)
    assert not file.arrays["features"].flags.owndata
    np.testing.assert_allclose(file.features, full.features, atol=0.005)
    np.testing.assert_array_equal(file.tokens(3), file.features[3])
    np.testing.assert_array_equal(np.concatenate([block for _, block in file.blocks(7)]), np.asarray(file.features))
    assert list(file.names) == list(full.names)
    assert files(tmp_path) == sorted([f"f{suffix}", f"full{suffix}"])


@pytest.mark.parametrize("store", NARROW)
def test_an_interrupted_run_may_end_in_another_store(two_towers, photos, tmp_path, store):
    options = {"model": two_towers, "batch_size": 4, "save_every": 4}
    path = tmp_path / "f.npz"
    with pytest.raises(Stop):
        embed([photos], path, store=store, progress=stop_after(20), **options)
    done = embed([photos], path, **options)
    assert done.continued == 20
    assert done.loss is None
    embed([photos], tmp_path / "whole.npz", **options)
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    with pytest.raises(ValueError, match=f"store is '{store}', and .*f.npz holds float32; pass --store float32"):
        embed([photos], path, store=store, **options)
    again = embed([photos], path, store=store, overwrite=True, **options)
    assert (again.continued, open_features(path).stored) == (0, store)
    assert embed([photos], path, store=store, **options) == embed([photos], path, store=store, **options)


def test_vectors_that_are_too_large_are_kept_for_another_store(two_towers, photos, tmp_path, monkeypatch):
    small = ImageEmbedder.compute
    monkeypatch.setattr(ImageEmbedder, "compute", lambda self, pixels: [1e6 * x for x in small(self, pixels)])
    path = tmp_path / "f.npz"
    with pytest.raises(ValueError, match=r"which float16 cannot hold; choose another --store"):
        embed([photos], path, model=two_towers, store="float16")
    assert files(tmp_path) == ["f.npz.parts"]
    assert embed([photos], path, model=two_towers, store="int8").continued == 40
    assert len(open_features(path)) == len(SOUND)


def test_neighbours_are_found_in_them(two_towers, photos, tmp_path):
    embed([photos], tmp_path / "f.npz", model=two_towers, store="int8")
    features = open_features(tmp_path / "f.npz").features
    labels = [str(row % 2) for row in range(len(features))]
    assert knn(features, labels, features, labels, k=1).accuracy == 1


@pytest.mark.parametrize("store", NARROW)
def test_probes_are_trained_on_them(tmp_path, store):
    rng = np.random.default_rng(0)
    labels = [str(row % 3) for row in range(60)]
    features = rng.standard_normal((60, 8)) + 9 * np.eye(8)[[int(label) for label in labels]]
    file = write_features(tmp_path / "f.npz", features, store=store)
    fit = train_linear_probe(file.features, labels, strength=1e-3)
    assert Probe(fit.classes, fit.network, {}).judge(file.features, labels).accuracy == 1


def test_a_file_says_what_it_stores(two_towers, photos, tmp_path):
    embed([photos], tmp_path / "f.npz", model=two_towers, store="int8")
    metadata = open_features(tmp_path / "f.npz").metadata
    assert json.loads(metadata["run"])["stored"] == metadata["stored"] == "int8"
