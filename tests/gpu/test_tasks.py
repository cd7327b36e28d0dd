"""What people do with models, on the device: classify, embed, search, record, verify, draw; and by command."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from aimv2_np import Aimv2Model, compare
from aimv2_np.cli.app import app
from aimv2_np.comparison.verify import verify_embedded
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.recording import Recording, record
from aimv2_np.tasks import ImageEmbedder, classify, embed, embed_query, load_classifier, open_features, search
from tests.support.gpu import emulated_cupy
from tests.support.models import pixels, vision_model
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers

DTYPES = ("float32", "float16", "bfloat16")
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}  # ten ε and some, of vectors of length one


@pytest.fixture(scope="module")
def two_towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_two_towers(tmp_path_factory.mktemp("checkpoints") / "two-towers")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(9):
        photo(20 + number % 3, 30, seed=number).save(folder / f"{number}.png")
    return folder


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments), "--backend", "cupy"])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("dtype", DTYPES)
def test_classify(cupy: ModuleType, dtype: str) -> None:
    samples = sample_pictures()
    captions = [sample.caption for sample in samples]
    pictures = [sample.picture for sample in samples]
    results = []
    for options in ({}, {"backend": "cupy", "dtype": dtype}):
        model, processor = load_classifier(tiny_model_path(), **options)
        results.append(classify(pictures, captions, model=model, processor=processor))
    here, there = results
    assert there.top == here.top
    assert isinstance(there.probabilities, np.ndarray)
    np.testing.assert_allclose(there.probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["projected", "pooled", "cls", "mean", "tokens"])
def test_embedder(cupy: ModuleType, two_towers: Path, kind: str, dtype: str) -> None:
    batch = {"pixels": [photo(20, 30), photo(16, 24, seed=1)]}
    expected = ImageEmbedder(two_towers, kind, True)(batch)["features"]
    embedder = ImageEmbedder(two_towers, kind, True, backend="cupy", dtype=dtype, device=0)
    found = pickle.loads(pickle.dumps(embedder))(batch)["features"]
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_embed_and_search(cupy: ModuleType, two_towers: Path, photos: Path, tmp_path: Path, dtype: str) -> None:
    """What one backend embedded another searches, in whatever dtype: the model is known again."""
    path = tmp_path / "features.safetensors"
    embed([photos], path, model=two_towers, backend="cupy", dtype=dtype)
    features = open_features(path)
    assert (features.metadata["backend"], features.metadata["dtype"]) == ("cupy", dtype)
    for options in ({}, {"backend": "cupy", "dtype": dtype}, {"backend": "cupy"}):
        query = embed_query(features, photos / "4.png", model=two_towers, **options)
        assert search(features, query, 1)[0].name.endswith("4.png")
        assert embed_query(features, "a photo", text=True, model=two_towers, **options).shape == (8,)


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_record_and_compare(cupy: ModuleType, tmp_path: Path, dtype: str, statistics: bool) -> None:
    model = vision_model()
    inputs = {"pixel_values": pixels()}
    reference = record(model, inputs, tmp_path / "here.safetensors")
    found = record(model.to("cupy", dtype), inputs, tmp_path / "there.safetensors", statistics=statistics)
    assert found.metadata["dtype"] == dtype
    assert set(found.dtypes.values()) == {dtype}
    result = compare(reference, found)
    assert result.equal, result.explanation
    assert Recording.load(tmp_path / "there.safetensors").metadata["backend"] == "cupy"


@pytest.mark.parametrize("dtype", DTYPES)
def test_verify(cupy: ModuleType, dtype: str) -> None:
    result = verify_embedded(backend="cupy", dtype=dtype)
    assert result.comparison.equal, result.comparison.explanation
    assert result.here["cupy"] == cupy.__version__


def test_attention_is_drawn(cupy: ModuleType) -> None:
    from aimv2_np.viz import pooling_attention

    model = Aimv2Model.from_pretrained(tiny_model_path())
    given = np.random.default_rng(0).standard_normal((2, 3, *model.config.vision_config.image_shape), dtype=np.float32)
    found = pooling_attention(model.to("cupy"), given)
    np.testing.assert_allclose(found, pooling_attention(model, given), atol=1e-5)


def test_commands(cupy: ModuleType, photos: Path, two_towers: Path, tmp_path: Path) -> None:
    picture = tmp_path / "star.png"
    sample_pictures()[0].picture.save(picture)
    result = run("classify", picture, "--labels", "a red star,a blue circle", "--dtype", "bfloat16")
    assert "cupy, device 0, bfloat16" in result.stdout
    features, recording = tmp_path / "f.safetensors", tmp_path / "r.safetensors"
    run("embed", photos, "-o", features, "--model", two_towers, "--dtype", "float16")
    found = run("search", features, photos / "2.png", "--model", two_towers, "--json", "--top", "1")
    assert json.loads(found.stdout)[0]["name"].endswith("2.png")
    run("record", two_towers, "--images", photos / "1.png", "-o", recording, "--device", "0")
    assert run("verify").stdout.startswith("OK")
    assert run("verify", "--dtype", "float16").stdout.startswith("OK")
    picture = ["--output", tmp_path / "demo.png"] if find_spec("matplotlib") else []
    assert "cupy, device 0" in run("demo", *picture).stdout


def test_options_of_a_gpu_alone() -> None:
    result = CliRunner().invoke(app, ["verify", "--device", "0"])
    assert result.exit_code == 2
    assert "--backend cupy" in result.output


def test_a_model_on_the_second_device(two_towers: Path, photos: Path, tmp_path: Path) -> None:
    """While the first is the current one."""
    with emulated_cupy(2):
        model, processor = load_classifier(two_towers, backend="cupy", device=1)
        classify([photo(20, 30)], ["one", "two"], model=model, processor=processor)
        embed([photos], tmp_path / "f.npz", model=two_towers, backend="cupy", device=1, normalize=True, features="mean")
        record(model, {"pixel_values": processor(images=[photo(20, 30)])["pixel_values"]}, tmp_path / "r.safetensors")
        assert verify_embedded(backend="cupy", device=1).comparison.equal
