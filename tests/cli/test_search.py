import json
import os

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aimv2_np.cli.app import app
from aimv2_np.tasks import combine_queries, embed, embed_queries, embed_query, open_features, search, search_many
from tests.support.refusals import assert_error
from tests.support.shapes import draw_shapes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    paths = draw_shapes(folder / "pictures", 3)
    embed([folder / "pictures"], folder / "f.safetensors")
    embed([folder / "pictures"], folder / "mean.npz", features="mean")
    return folder, paths


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["search", *map(str, arguments)])


def test_json_is_what_the_library_says(shapes):
    folder, _ = shapes
    result = run(folder / "f.safetensors", "a red star", "--top", 5, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    file = open_features(folder / "f.safetensors")
    hits = search(file, embed_query(file, "a red star"), 5)
    assert json.loads(result.stdout) == [{"row": it.row, "name": it.name, "score": it.score} for it in hits]


def test_several_queries_have_an_answer_each(shapes, tmp_path):
    folder, paths = shapes
    file, queries = open_features(folder / "f.safetensors"), ("a red star", str(paths[4]))
    result = run(folder / "f.safetensors", *queries, "--top", 3, "--json")
    hits = search_many(file, embed_queries(file, queries), 3)
    assert json.loads(result.stdout) == [
        {"query": query, "hits": [{"row": it.row, "name": it.name, "score": it.score} for it in each]}
        for query, each in zip(queries, hits, strict=True)
    ]
    shown = run(folder / "f.safetensors", *queries, "--top", 3, "--sheet", tmp_path / "s.png")
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[0] == "a red star"
    assert [line.split()[0] for line in lines if line.split()[0].isdigit()] == ["1", "2", "3"] * 2
    with Image.open(tmp_path / "s.png") as image:
        assert image.height > 2 * 176


def test_near_one_and_far_from_another(shapes):
    folder, _ = shapes
    file = open_features(folder / "f.safetensors")
    result = run(folder / "f.safetensors", "a star", "--plus", "a ring", "--minus", "a red star", "--json")
    star, ring, red = embed_queries(file, ["a star", "a ring", "a red star"])
    hits = search(file, combine_queries([star, ring], [red]))
    assert json.loads(result.stdout) == [{"row": it.row, "name": it.name, "score": it.score} for it in hits]
    assert_error(run(folder / "f.safetensors", "a star", "--minus", "a star"), "cancel one another out")


def test_only_some_names_and_only_good_ones(shapes, tmp_path):
    folder, _ = shapes
    some = json.loads(run(folder / "f.safetensors", "a star", "--name", "*red*", "--json").stdout)
    assert len(some) > 3
    assert all("red" in hit["name"] for hit in some)
    every = json.loads(run(folder / "f.safetensors", "a red star", "--top", 99, "--json").stdout)
    least = ["--top", 99, "--least", every[4]["score"]]
    assert json.loads(run(folder / "f.safetensors", "a red star", *least, "--json").stdout) == every[:5]
    assert len(every) > 5
    assert_error(run(folder / "f.safetensors", "a star", "--name", "holiday/*"), "no name in")
    none = run(folder / "f.safetensors", "a star", "--least", 1, "--sheet", tmp_path / "none.png")
    assert (none.exit_code, none.stdout) == (0, "no picture has such a score\n")
    assert not (tmp_path / "none.png").exists()


def test_the_table_and_the_sheet(shapes, tmp_path):
    folder, paths = shapes
    result = run(folder / "f.safetensors", paths[4], "--top", 3, "--sheet", tmp_path / "s.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.split()[:2] == ["1", "1.000"]
    assert paths[4].name.split()[0] in result.stdout.replace("\n", "")
    assert f"contact sheet: {tmp_path / 's.png'}" in result.stdout.replace("\n", "")
    with Image.open(tmp_path / "s.png") as image:
        assert image.format == "PNG"
    again = run(folder / "f.safetensors", paths[4], "--sheet", tmp_path / "s.png")
    assert_error(again, "exists already; name another file, or overwrite it with --force")
    assert run(folder / "f.safetensors", paths[4], "--sheet", tmp_path / "s.png", "--force").exit_code == 0


def test_relative_names_are_found_from_elsewhere(shapes, tmp_path, monkeypatch):
    folder, paths = shapes
    monkeypatch.chdir(folder)
    embed(["pictures"], tmp_path / "f.npz")
    os.chdir(tmp_path)
    assert run("f.npz", paths[0], "--sheet", "blank.png", "--top", 1).exit_code == 0
    assert run("f.npz", paths[0], "--sheet", "found.png", "--top", 1, "--root", folder).exit_code == 0
    with Image.open("blank.png") as blank, Image.open("found.png") as found:
        grey = [sum(n for n, color in image.getcolors(2**20) if color == (232, 232, 232)) for image in (blank, found)]
    assert grey[0] > 0.9 * 176**2  # a grey place with a few words in it
    assert grey[1] < 0.1 * 176**2  # a picture, some of whose pixels may be of that grey


def test_errors_are_one_line(shapes, tmp_path):
    folder, paths = shapes
    assert_error(run(folder / "nowhere.npz", "a star"), "there is no file")
    assert_error(run(paths[0], "a star"), "no safetensors file")
    assert_error(run(folder / "f.safetensors", "star.png"), "there is no picture 'star.png'")
    assert run(folder / "f.safetensors", "star.png", "--text").exit_code == 0
    assert_error(run(folder / "f.safetensors", " "), "expected words")
    assert_error(run(folder / "f.safetensors", "red " * 99), "tokens long")
    assert_error(run(folder / "mean.npz", "a star"), "texts are compared with 'projected' ones")
    assert_error(run(folder / "f.safetensors", "a star", "--model", "nowhere"), "there is no folder 'nowhere'")
    assert_error(run(folder / "f.safetensors", "a star", "--sheet", tmp_path), "is a folder")
    assert_error(run(folder / "f.safetensors", "a star", "--sheet", tmp_path / "a.jpg"), "expected .png")
    assert run(folder / "f.safetensors", "a star", "--top", 0).exit_code == 2
