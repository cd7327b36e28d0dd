import json
import os

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aimv2_np.cli.app import app
from aimv2_np.tasks import embed, near_duplicates, open_features
from tests.support.refusals import assert_error
from tests.support.shapes import draw_shapes


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Of some pictures, of which one is there a second time, and another a third."""
    folder = tmp_path_factory.mktemp("shapes")
    paths = draw_shapes(folder / "pictures", 2)
    for number, times in ((1, 1), (5, 2)):
        for time in range(times):
            (folder / f"pictures/copy {number} {time}.png").write_bytes(paths[number].read_bytes())
    embed([folder / "pictures"], folder / "f.safetensors")
    return folder / "f.safetensors"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["duplicates", *map(str, arguments)])


def test_json_is_what_the_library_says(features):
    result = run(features, "--least", 0.99999, "--threads", 1, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    groups = near_duplicates(open_features(features), 0.99999)
    said = [[{"row": it.row, "name": it.name, "score": it.score} for it in group] for group in groups]
    assert json.loads(result.stdout) == said
    assert sorted(map(len, groups)) == [2, 3]


def test_the_table_and_the_sheet(features, tmp_path):
    result = run(features, "--least", 0.99999, "--sheet", tmp_path / "groups.png")
    assert (result.exit_code, result.stderr) == (0, "")
    told = " ".join(result.stdout.split())
    assert told.startswith("2 groups, cosines of 0.99999 or more: 3 of 19 pictures are like an earlier one 1 1.000 ")
    assert told.replace(" ", "").endswith(f"contactsheet:{tmp_path / 'groups.png'}")
    assert told.count("copy") == 3
    with Image.open(tmp_path / "groups.png") as image:
        assert image.format == "PNG"
        assert image.height > 2 * 176
    again = run(features, "--sheet", tmp_path / "groups.png")
    assert_error(again, "exists already; name another file, or overwrite it with --force")
    assert run(features, "--sheet", tmp_path / "groups.png", "--force").exit_code == 0


def test_relative_names_are_found_from_elsewhere(features, tmp_path, monkeypatch):
    monkeypatch.chdir(features.parent)
    embed(["pictures"], tmp_path / "f.npz")
    os.chdir(tmp_path)
    for name, root in (("blank.png", "."), ("found.png", features.parent)):
        assert run("f.npz", "--least", 0.99999, "--sheet", name, "--root", root).exit_code == 0
    with Image.open("blank.png") as blank, Image.open("found.png") as found:
        grey = [sum(n for n, color in image.getcolors(2**20) if color == (232, 232, 232)) for image in (blank, found)]
    assert grey[0] > 4.5 * 176**2 > 10 * grey[1]  # five grey places; pictures, some of whose pixels are of that grey


def test_nothing_is_alike(tmp_path, features):
    embed(sorted(features.parent.glob("pictures/0*"))[:3], tmp_path / "f.npz")
    result = run(tmp_path / "f.npz", "--least", 1, "--sheet", tmp_path / "s.png")
    assert result.stdout == "0 groups, cosines of 1.0 or more: 0 of 3 pictures are like an earlier one\n"
    assert not (tmp_path / "s.png").exists()


def test_errors_are_one_line(features, tmp_path):
    assert_error(run(tmp_path / "nowhere.npz"), "there is no file")
    embed([features.parent / "pictures"], tmp_path / "tokens.npz", features="tokens")
    assert_error(run(tmp_path / "tokens.npz"), "vectors of patches")
    for least in (0, 1.5):
        assert run(features, "--least", least).exit_code == 2
