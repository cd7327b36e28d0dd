import numpy as np
import pytest
from click.testing import CliRunner, Result

from aimv2_np.cli.app import app
from aimv2_np.recording import Recording
from tests.support.pictures import photo
from tests.support.two_towers import save_text_tower, save_two_towers, save_vision_tower


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / "first.png", folder / "second.png"]
    for seed, path in enumerate(paths):
        photo(40, 60, seed=seed).save(path)
    return [str(path) for path in paths]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["record", *map(str, arguments)])


def test_pictures_and_texts(two_towers, pictures, tmp_path):
    path = tmp_path / "run.safetensors"
    result = run(two_towers, "--images", *pictures, "--texts", "a cat", "a dog", "two", "-o", path)
    assert result.exit_code == 0, result.stderr
    found = Recording.load(path)
    assert found.inputs["pixel_values"].shape == (2, 3, 16, 24)
    assert found.inputs["input_ids"].shape[0] == 3
    assert found.activations["logits_per_image"].shape == (2, 3)
    assert f"{path}: {len(found.order)} activations" in result.stdout


def test_what_to_record(two_towers, pictures, tmp_path):
    path = tmp_path / "run.safetensors"
    only = ("--include", "*.ffn", "*.probs", "--inner", "--slice", "*.probs=0", "*.ffn=:, 0")
    result = run(two_towers, "--images", *pictures, "-o", path, *only, "--dtype", "float64")
    assert result.exit_code == 0, result.stderr
    found = Recording.load(path)
    assert {name.rpartition(".")[2] for name in found.order} == {"ffn", "probs"}
    assert set(found.slices.values()) == {"0", ":, 0"}
    assert set(found.dtypes.values()) == {"float64"}


def test_statistics(two_towers, pictures, tmp_path):
    path = tmp_path / "run.safetensors"
    assert run("-o", path, "--statistics", "--images", pictures[0], "--", two_towers).exit_code == 0
    assert not Recording.load(path).whole


def test_causality_is_an_option(two_towers, tmp_path):
    paths = tmp_path / "causal.safetensors", tmp_path / "not.safetensors"
    for path, option in zip(paths, ([], ["--not-causal"]), strict=True):
        assert run(two_towers, "--texts", "a cat on a mat", "-o", path, *option).exit_code == 0
    one, other = (Recording.load(path).activations["text_model.last_hidden_state"] for path in paths)
    assert not np.allclose(one, other)


def test_one_tower(pictures, tmp_path):
    vision, text = save_vision_tower(tmp_path / "v"), save_text_tower(tmp_path / "t")
    assert run(vision, "--images", pictures[0], "-o", tmp_path / "a.safetensors").exit_code == 0
    for arguments, message in (
        ((vision, "--texts", "a cat"), "has a vision tower only"),
        ((text, "--images", pictures[0]), "has a text tower only"),
        ((vision,), "images and texts are empty"),
        ((vision, "--images", pictures[0], "--slice", "0"), "expected GLOB=PART"),
        ((vision, "--images", pictures[0], "--include", "x"), "matches no activation"),
    ):
        result = run(*arguments, "-o", tmp_path / "b.safetensors")
        assert result.exit_code == 1
        assert message in result.stderr
    assert not (tmp_path / "b.safetensors").exists()


def test_usage(two_towers, pictures, tmp_path):
    path = tmp_path / "run.safetensors"
    assert run(two_towers, "--images", pictures[0]).exit_code == 2
    assert run(two_towers, "--images", pictures[0], "--not-causal", "-o", path).exit_code == 2
    assert run(two_towers, "--images", "-o", path).exit_code in (1, 2)  # "-o" is taken for a picture
    assert not path.exists()


def test_a_file_that_is_there(two_towers, pictures, tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_text("mine")
    result = run("nowhere/nothing", "--images", pictures[0], "-o", path)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert path.read_text() == "mine"
    assert run(two_towers, "--images", pictures[0], "-o", path, "--force").exit_code == 0
    assert Recording.load(path).order


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
def test_pictures_of_many_sizes_are_recorded_as_a_pack(tmp_path):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for i, path in enumerate(paths):
        photo(8 * (14 + i), 8 * 9, seed=i).save(path)
    arguments = (folder, "--images", *paths, "--texts", "a cat", "--inner")
    result = run(*arguments, "-o", tmp_path / "run.safetensors")
    assert result.exit_code == 0, result.stderr
    found = Recording.load(tmp_path / "run.safetensors")
    assert found.inputs["pixel_values.1"].shape == (3, 120, 72)
    assert found.activations["vision_model.encoder.layers.1.ffn"].shape == (1, 14 * 9 + 15 * 9, 16)
    assert found.activations["vision_model.embeddings.1"].shape == (1, 135, 16)
    assert found.activations["vision_model.encoder.layers.1.attention.probs.1"].shape == (1, 2, 135, 135)
    assert found.activations["logits_per_image"].shape == (2, 1)
    alone = run(folder, "--images", paths[1], "--texts", "a cat", "-o", tmp_path / "alone.safetensors")
    assert alone.exit_code == 0, alone.stderr
    one = Recording.load(tmp_path / "alone.safetensors").activations["vision_model.rms_norm"]
    np.testing.assert_allclose(found.activations["vision_model.rms_norm"][:, 126:], one, atol=1e-5)  # other sums' order
    bounded = run(*arguments, "--max-patches", 112, "-o", tmp_path / "small.safetensors")
    assert bounded.exit_code == 0, bounded.stderr
    assert Recording.load(tmp_path / "small.safetensors").activations["vision_model.rms_norm"].shape[1] <= 224


def test_gradients(two_towers, pictures, tmp_path):
    path = tmp_path / "run.safetensors"
    result = run(two_towers, "--images", *pictures, "--texts", "a cat", "a dog", "-o", path, "--gradients")
    assert result.exit_code == 0, result.stderr
    found = Recording.load(path)
    assert found.metadata["loss"] == "contrastive"
    counts = f"{len(found.forward.order)} activations and {len(found.backward.order)} gradients"
    assert f"{path}: {counts}" in result.stdout
    assert found.backward.shapes["logit_scale"] == ()
