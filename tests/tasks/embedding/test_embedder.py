import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionModel, CheckpointError, UntrainedSizeWarning, load
from aimv2_np.tasks import ImageEmbedder
from tests.support.paths import ROOT
from tests.support.pictures import as_bytes, photo
from tests.support.two_towers import save_text_tower, save_two_towers, save_vision_tower

ULPS = {"rtol": 0, "atol": 1e-5}  # the same network in other batches: sums of float32, of a few units, in another order


@pytest.fixture
def pictures():
    return [photo(20 + i, 30 - i, seed=i) for i in range(5)]


def expected(folder, pictures, kind):
    model = load(folder)
    pixels = Aimv2ImageProcessor.from_pretrained(folder)(pictures)["pixel_values"]
    vision = getattr(model, "vision_model", model)
    output = vision(pixels)
    tokens = output.last_hidden_state
    if kind == "cls":  # the head as its docstring writes it, in float64
        head = vision.head
        heads, x = head.heads, tokens.astype(np.float64)
        k, v = (x @ p.weight.T.astype(np.float64) for p in (head.k_proj, head.v_proj))
        result = []
        for part in np.split(np.arange(x.shape[-1]), heads):
            scores = np.einsum("d,bnd->bn", head.cls_token[0, 0, part], k[..., part]) / np.sqrt(len(part))
            probs = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            result.append(np.einsum("bn,bnd->bd", probs, v[..., part]))
        return np.concatenate(result, axis=1)
    return {
        "projected": lambda: model.get_image_features(pixels),
        "pooled": lambda: output.pooler_output,
        "mean": lambda: tokens.mean(1),
        "tokens": lambda: tokens,
    }[kind]()


@pytest.mark.parametrize("kind", ["projected", "pooled", "cls", "mean", "tokens"])
def test_every_kind_is_what_its_name_says(two_towers, pictures, kind):
    batch = {"bytes": [as_bytes(picture) for picture in pictures], "label": np.arange(5)}
    result = ImageEmbedder(two_towers, kind)(batch)
    wanted = expected(two_towers, pictures, kind)
    assert result["features"].dtype == np.float32
    np.testing.assert_allclose(result["features"], wanted, **ULPS)
    assert np.ptp(result["features"], axis=0).max() > 0.1  # the five pictures are not all alike to the model
    assert list(result) == ["bytes", "label", "features"] + (["grid"] if kind == "tokens" else [])
    assert "features" not in batch
    if kind == "tokens":
        assert result["features"].shape == (5, 6, 16)
        assert result["grid"].tolist() == [[2, 3]] * 5
    unit = ImageEmbedder(two_towers, kind, normalize=True)(batch)["features"]
    np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(unit, wanted / np.linalg.norm(wanted, axis=-1, keepdims=True), **ULPS)


def test_cls_through_the_output_projection_is_pooled(two_towers, pictures):
    head = load(two_towers).vision_model.head
    batch = {"pixels": [np.asarray(picture) for picture in pictures]}
    cls, pooled = (ImageEmbedder(two_towers, kind)(batch)["features"] for kind in ("cls", "pooled"))
    np.testing.assert_allclose(cls @ head.output_proj.weight.T + head.output_proj.bias, pooled, **ULPS)


def test_every_column_of_pictures_gives_the_same(two_towers, pictures, tmp_path):
    embedder = ImageEmbedder(two_towers)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    wanted = embedder({"path": [str(path) for path in paths]})["features"]
    objects = np.empty(5, object)
    objects[:] = [as_bytes(picture) for picture in pictures]
    for column, values in {
        "path": paths,
        "bytes": objects,
        "pixels": [np.asarray(picture) for picture in pictures],
        "image": pictures,
        "pixel_values": [embedder.prepare(picture) for picture in pictures],
    }.items():
        np.testing.assert_array_equal(embedder({column: values})["features"], wanted)
    same_size = np.stack([np.asarray(photo(20, 30, seed=i)) for i in range(3)])  # Ray passes (B, H, W, 3)
    assert embedder({"pixels": same_size})["features"].shape == (3, 8)
    assert embedder({"path": np.array([], str)})["features"].shape == (0, 8)


def test_defaults_follow_the_model(tmp_path, two_towers):
    batch = {"image": [photo(20, 30)]}
    head, bare = save_vision_tower(tmp_path / "head"), save_vision_tower(tmp_path / "bare", use_head=False)
    for folder, kind in ((two_towers, "projected"), (head, "pooled"), (bare, "mean")):
        embedder = ImageEmbedder(folder)
        assert embedder.opened.kind == kind
        np.testing.assert_array_equal(embedder(batch)["features"], ImageEmbedder(folder, kind)(batch)["features"])
        assert embedder.size == embedder(batch)["features"].shape[1]


@pytest.mark.parametrize(
    ("save", "kind", "message"),
    [
        (save_vision_tower, "projected", "'projected' features need a two-tower model.*choose one of pooled, cls,"),
        (lambda f: save_vision_tower(f, use_head=False), "pooled", "from a pooling head.*does not have.*mean, tokens"),
        (lambda f: save_vision_tower(f, use_head=False), "cls", "trunk itself has no class token.*mean, tokens"),
        (save_text_tower, None, "Aimv2TextModel; expected one with a vision tower"),
    ],
)
def test_what_a_model_lacks_is_refused_with_the_reason(tmp_path, save, kind, message):
    embedder = ImageEmbedder(save(tmp_path / "model"), kind)
    with pytest.raises(ValueError, match=message):
        embedder({"image": [photo(20, 30)]})


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
def test_native_models_take_pictures_of_all_sizes_at_once(tmp_path):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    sizes = [(16, 24), (24, 24), (16, 24), (40, 17)]
    pictures = [photo(h, w, seed=i) for i, (h, w) in enumerate(sizes)]
    result = ImageEmbedder(folder, "tokens")({"image": pictures})
    assert [tokens.shape for tokens in result["features"]] == [(6, 16), (9, 16), (6, 16), (10, 16)]
    assert result["grid"].tolist() == [[2, 3], [3, 3], [2, 3], [5, 2]]
    for one, picture in zip(result["features"], pictures, strict=True):
        np.testing.assert_allclose(one, expected(folder, [picture], "tokens")[0], **ULPS)
    pooled = ImageEmbedder(folder, "pooled")({"image": pictures})["features"]
    for one, picture in zip(pooled, pictures, strict=True):
        np.testing.assert_allclose(one, expected(folder, [picture], "pooled")[0], **ULPS)
    with pytest.raises(ValueError, match=r"row 0: the picture is 30 x 7 pixels, smaller than one patch of 8 x 8"):
        ImageEmbedder(folder)({"image": [photo(7, 30)]})


def test_pictures_that_a_native_model_was_not_trained_for_are_named(tmp_path):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    large = photo(8 * 12, 8 * 10)  # 120 patches
    with pytest.warns(UntrainedSizeWarning, match=r"^row 1 \(6\): the native model was trained for 112"):
        ImageEmbedder(folder)({"image": [large, photo(16, 24), large]})


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
def test_larger_pictures_are_scaled_down(tmp_path):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    embedder = pickle.loads(pickle.dumps(ImageEmbedder(folder, "tokens", max_patches=120)))
    result = embedder({"image": [photo(8 * 40, 8 * 20), photo(8 * 15, 8 * 8)]})
    assert result["grid"].tolist() == [[15, 7], [15, 8]]  # √(120 / 800) · 40 = 15.5 and 7.7; the other fits


def test_a_model_that_crops_takes_no_bound(two_towers):
    for errors in ("raise", "skip"):
        with pytest.raises(ValueError, match=r"max_patches is 99; expected none, as these settings crop every image"):
            ImageEmbedder(two_towers, max_patches=99, errors=errors)({"image": [photo(20, 30)]})
    with pytest.raises(ValueError, match="max_patches is 0"):
        ImageEmbedder(two_towers, max_patches=0)


def test_a_broken_picture_stops_or_is_left_out_and_never_becomes_zeros(two_towers, tmp_path):
    good = as_bytes(photo(20, 30))
    batch = {"bytes": [good, b"no picture", good, good[:100]], "path": ["a", "b.png", "c", "d"], "n": np.arange(4)}
    with pytest.raises(ValueError, match=r"row 1 \(b.png\): the content is not an image"):
        ImageEmbedder(two_towers)(batch)
    with pytest.raises(FileNotFoundError, match=r"row 0 \(.*missing.png\): there is no such file"):
        ImageEmbedder(two_towers)({"path": [str(tmp_path / "missing.png")]})
    with pytest.warns(UserWarning, match=r"left out: row [13] \((b.png|d)\): ") as caught:
        result = ImageEmbedder(two_towers, errors="skip")(batch)
    assert len(caught) == 2
    assert result["path"] == ["a", "c"]
    assert result["n"].tolist() == [0, 2]
    np.testing.assert_allclose(*result["features"], **ULPS)
    with pytest.warns(UserWarning, match="left out"):
        assert ImageEmbedder(two_towers, errors="skip")({"bytes": [b""]})["features"].shape == (0, 8)


@pytest.mark.parametrize("kind", ["projected", "tokens"])
def test_a_broken_picture_is_a_column(two_towers, tmp_path, kind):
    """As `embed` tells it: without the row's name, which stands beside it."""
    good = as_bytes(photo(20, 30))
    batch = {"bytes": [good, b"no picture", good, good[:100]], "path": ["a", "b.png", "c", "d"], "n": np.arange(4)}
    result = ImageEmbedder(two_towers, kind, errors="column")(batch)
    assert list(result["path"]) == ["a", "b.png", "c", "d"]
    assert [vector is None for vector in result["features"]] == [False, True, False, True]
    assert [error is None for error in result["error"]] == [True, False, True, False]
    assert result["error"][1].startswith("the content is not an image in a format that Pillow knows")
    wanted = ImageEmbedder(two_towers, kind)({"bytes": [good, good]})["features"]
    np.testing.assert_array_equal(np.stack([result["features"][0], result["features"][2]]), wanted)
    if kind == "tokens":
        assert [None if grid is None else grid.tolist() for grid in result["grid"]] == [[2, 3], None, [2, 3], None]
    sound = ImageEmbedder(two_towers, kind, errors="column")({"bytes": [good, good]})
    assert [type(vector) for vector in sound["features"]] == [np.ndarray] * 2  # of one kind, whatever is broken
    assert list(sound["error"]) == [None, None]
    nothing = ImageEmbedder(two_towers, kind, errors="column")({"path": [str(tmp_path / "missing.png")]})
    assert (list(nothing["features"]), list(nothing["error"])) == ([None], ["there is no such file; check the path"])


def test_pickled_it_is_its_settings_and_opens_the_model_elsewhere(two_towers, tmp_path, monkeypatch):
    monkeypatch.chdir(two_towers.parent)
    embedder = ImageEmbedder(two_towers.name, "mean", True)
    wanted = embedder({"image": [photo(20, 30)]})["features"]
    data = pickle.dumps(embedder)
    assert len(data) < 1000
    (tmp_path / "embedder").write_bytes(data)
    photo(20, 30).save(tmp_path / "picture.png")
    code = (
        "import pickle, numpy; embedder = pickle.load(open('embedder', 'rb'))\n"
        "assert embedder._opened is None\n"
        "numpy.save('features.npy', embedder({'path': ['picture.png']})['features'])"
    )
    rounding = {name: value for name, value in os.environ.items() if name.startswith(("OPENBLAS_", "AIMV2_NP_"))}
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", **rounding}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), wanted)


def test_options_reach_the_embedded_model_too():
    with pytest.raises(CheckpointError, match="final_norm is False, which is for a vision tower alone"):
        ImageEmbedder(features="mean", final_norm=False)({"image": [photo(64, 64)]})


def test_elsewhere_is_another_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert ImageEmbedder("organisation/name", cache_dir="cache").options["cache_dir"] == tmp_path / "cache"


def test_large_batches_go_through_the_model_in_parts(two_towers, monkeypatch):
    sizes = []
    forward = Aimv2VisionModel.forward

    def spy(self, pixels, **options):
        sizes.append(len(pixels))
        return forward(self, pixels, **options)

    monkeypatch.setattr(Aimv2VisionModel, "forward", spy)
    pictures = [photo(20, 30, seed=i) for i in range(7)]
    result = ImageEmbedder(two_towers, batch_size=3)({"image": pictures})["features"]
    assert sizes == [3, 3, 1]
    np.testing.assert_allclose(result, expected(two_towers, pictures, "projected"), **ULPS)


def test_float16_gives_float32_features(two_towers):
    result = ImageEmbedder(two_towers, dtype="float16")({"image": [photo(20, 30)]})["features"]
    assert result.dtype == np.float32
    wanted = expected(two_towers, [photo(20, 30)], "projected")
    np.testing.assert_allclose(result, wanted, atol=0.03 * np.abs(wanted).max())  # 11 bits, a dozen operations deep


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"features": "best"}, ValueError, "features is 'best'; expected one of projected, pooled, cls, mean, tokens"),
        ({"errors": "ignore"}, ValueError, "errors is 'ignore'; expected one of raise, skip, column"),
        ({"column": "error"}, ValueError, "column is 'error', which is another column's name"),
        ({"column": "path"}, ValueError, "column is 'path', which is another column's name"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; expected a whole number"),
        ({"backend": "torch"}, ValueError, "backend is 'torch'"),
        ({"model": object()}, TypeError, "model is an object; expected a folder or a hub id"),
    ],
)
def test_settings_that_make_no_sense(arguments, kind, message):
    with pytest.raises(kind, match=message):
        ImageEmbedder(**arguments)


def test_batches_that_make_no_sense(two_towers):
    embedder = ImageEmbedder(two_towers)
    with pytest.raises(ValueError, match=r"the batch has the columns \['text'\]; expected one of pixel_values, pixels"):
        embedder({"text": ["a"]})
    with pytest.raises(ValueError, match=r"row 0: pixel_values is uint8 of shape \(3, 16, 24\); expected floats"):
        embedder({"pixel_values": [np.zeros((3, 16, 24), np.uint8)]})
    with pytest.raises(TypeError, match=r"row 0 \(3\): the image is an int"):
        embedder({"path": [3]})
    with pytest.raises(FileNotFoundError, match="there is no folder 'nowhere'"):
        ImageEmbedder("nowhere")({"image": [photo(20, 30)]})
