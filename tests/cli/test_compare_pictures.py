"""aimv2-np compare --pictures: what a port does otherwise between a picture's file and pixel_values."""

import json

import pytest
from click.testing import CliRunner

from aimv2_np import load
from aimv2_np.cli.app import app
from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.recording import record
from tests.support.models import vision_model
from tests.support.pictures import photo


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A reference, and a port that resizes bilinear; two pictures; and the folder of a model."""
    folder = tmp_path_factory.mktemp("pictures")
    processor = Aimv2ImageProcessor(size=28, crop_size=28)
    vision_model(image_size=28, num_hidden_layers=1).save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    model = load(folder / "model")
    pictures = [folder / "a.png", folder / "b.png"]
    for path, size in zip(pictures, [(47, 79), (83, 45)], strict=True):
        photo(*size).save(path)
    for name, options in (("reference", {}), ("port", {"resample": 2})):
        record(model, processor(pictures, **options), folder / f"{name}.safetensors")
    return [folder / "reference.safetensors", folder / "port.safetensors"], pictures, folder


def test_the_filter_is_named(files):
    sides, pictures, _ = files
    result = run(*sides, "--pictures", *pictures, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["diagnosis"] == "wrong_resample"
    assert found["first"]["path"] == "inputs/pixel_values"
    assert "resized bilinear" in found["explanation"]
    without = json.loads(run(*sides, "--json").stdout)
    assert without["diagnosis"] is None
    assert without.keys() == found.keys()


def test_the_values_end_at_the_next_option_and_other_options_take_one(files):
    sides, pictures, folder = files
    one = run("--pictures", pictures[0], pictures[1], "--require", "*.ffn", *sides, "--model", folder / "model")
    assert one.exit_code == 1, one.output
    assert "diagnosis wrong_resample" in " ".join(one.stdout.split())
    again = run(*sides, "--pictures", pictures[0], "--pictures", pictures[1])
    assert "wrong_resample" in again.stdout


@pytest.mark.parametrize(
    ("number", "name", "words"),
    [(1, "a.png", "pictures holds 1; expected 2, one for each item"), (2, "none.png", "there is no such file")],
)
def test_what_does_not_fit_is_one_line(files, number, name, words):
    sides, pictures, folder = files
    result = run(*sides, "--pictures", *[folder / name, pictures[1]][:number])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


def test_folders_have_no_pictures(files):
    _, pictures, folder = files
    result = run(folder, folder, "--pictures", *pictures)
    assert result.exit_code == 2
    assert "--pictures and --budget are of one pair" in " ".join(result.stderr.split())
