"""--orient: a photograph that lies on its side in the file gives what the upright one gives, in every command."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from aimv2_np.cli.app import app
from aimv2_np.recording import Recording
from aimv2_np.tasks import open_features
from tests.support.pictures import sideways_jpeg

READING = {name for name, command in app.commands.items() if any(p.name == "exif_transpose" for p in command.params)}


@pytest.fixture
def pair(tmp_path):
    """The same photograph twice, in folders that a class is called after: sideways with its tag, and upright."""
    for kind in ("sideways", "upright"):
        (tmp_path / kind / "a").mkdir(parents=True)
    (tmp_path / "sideways/a/p.jpg").write_bytes(sideways_jpeg(40, 60))
    with Image.open(tmp_path / "sideways/a/p.jpg") as image:
        ImageOps.exif_transpose(image).save(tmp_path / "upright/a/p.png")
    return tmp_path / "sideways/a/p.jpg", tmp_path / "upright/a/p.png"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def results(pair, tmp_path, ask):
    """What `ask` makes of the sideways file, of it with --orient, and of the upright one."""
    sideways, upright = pair
    return ask(sideways), ask(sideways, "--orient"), ask(upright)


def test_every_command_that_reads_pictures_has_it():
    assert {"classify", "demo", "embed", "explain", "knn", "probe", "record", "search", "verify"} == READING


def features(path):
    return np.array(open_features(path).features)


def test_embed_and_search(pair, tmp_path):
    numbers = iter(range(9))

    def ask(picture, *options):
        path = tmp_path / f"{next(numbers)}.safetensors"
        run("embed", picture, "-o", path, *options)
        return features(path)

    plain, turned, expected = results(pair, tmp_path, ask)
    np.testing.assert_array_equal(turned, expected)
    assert not np.array_equal(plain, expected)
    score = [json.loads(run("search", tmp_path / f"{i}.safetensors", pair[0], "--json"))[0]["score"] for i in (0, 1, 2)]
    assert score[:2] == pytest.approx([1, 1])  # as the pictures in the file, without being asked to
    assert score[2] < 0.9999
    again = json.loads(run("search", tmp_path / "2.safetensors", pair[0], "--orient", "--json"))
    assert again[0]["score"] == pytest.approx(1)


def test_an_interrupted_run_is_not_continued_the_other_way(pair, tmp_path):
    run("embed", pair[0], "-o", tmp_path / "f.npz")
    result = CliRunner().invoke(app, ["embed", str(pair[0]), "-o", str(tmp_path / "f.npz"), "--orient"])
    assert result.exit_code == 1
    assert "exists already" in result.stderr


def test_classify(pair, tmp_path):
    def ask(picture, *options):
        return json.loads(run("classify", picture, "--labels", "a,b", "--json", *options))[0]["probabilities"]

    plain, turned, expected = results(pair, tmp_path, ask)
    assert turned == expected != plain


def test_record(pair, tmp_path, embedded):
    numbers = iter(range(9))

    def ask(picture, *options):
        path = tmp_path / f"{next(numbers)}.safetensors"
        run("record", embedded, "--images", picture, "-o", path, *options)
        return np.array(Recording.load(path).inputs["pixel_values"])

    plain, turned, expected = results(pair, tmp_path, ask)
    np.testing.assert_array_equal(turned, expected)
    assert not np.array_equal(plain, expected)


@pytest.mark.parametrize(("command", "keep"), [("knn", "--save"), ("probe", "--keep")])
def test_labelled_pictures_are_turned_upright(pair, tmp_path, command, keep):
    sideways, upright = (path.parent.parent for path in pair)
    more = ["--strength", "1"] if command == "probe" else []
    if command == "probe":
        for folder in (sideways, upright):
            shutil.copytree(folder / pair[0].parent.name, folder / "other")
    run(command, sideways, sideways, keep, tmp_path / "turned", "--orient", *more)
    run(command, upright, upright, keep, tmp_path / "upright", *more)
    got, expected = (features(tmp_path / kind / "train.safetensors") for kind in ("turned", "upright"))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("command", ["explain", "demo"])
def test_drawings(pair, tmp_path, command):
    def ask(picture, *options):
        path = tmp_path / "drawing.png"
        run(command, picture, "--force", "--output", path, *options)
        with Image.open(path) as image:
            return np.asarray(image).tobytes()

    pytest.importorskip("matplotlib")
    plain, turned, expected = results(pair, tmp_path, ask)
    assert turned != plain
    if command == "demo":  # the sheet of `explain` shows the file's name
        assert turned == expected
