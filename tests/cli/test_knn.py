import json

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aimv2_np.cli.app import app
from aimv2_np.data import sample_pictures
from aimv2_np.tasks import knn_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The sample pictures in folders by shape."""
    place = tmp_path_factory.mktemp("classes")
    for name, seeds in (("train", range(8)), ("test", range(8, 10))):
        for seed in seeds:
            for i, sample in enumerate(sample_pictures(seed)[:5]):
                folder = place / name / sample.caption.split()[-1]
                folder.mkdir(parents=True, exist_ok=True)
                sample.picture.save(folder / f"{seed}-{i}.png")
    (place / "test" / "star").mkdir(exist_ok=True)
    (place / "test" / "star" / "broken.png").write_bytes(b"nothing")
    return place


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["knn", *map(str, arguments)])


def test_what_it_says(folders, tmp_path):
    result = run(folders / "train", folders / "test", "-k", 5, "--save", tmp_path / "features")
    assert result.exit_code == 0, result.stderr
    wanted, known, _ = knn_folders(folders / "train", folders / "test", k=5)
    lines = result.stdout.splitlines()
    right = wanted.confusion.trace()
    assert lines[0] == f"accuracy {100 * wanted.accuracy:.1f} %: {right} of 10 right, projected features"
    assert lines[1].split()[:4] == ["is", "\\", "taken", "for"]
    for line, name, row in zip(lines[2:], wanted.classes, wanted.confusion, strict=False):
        assert line.split()[0] == name
        assert [int(it.strip("[]").replace("·", "0")) for it in line.split()[1:]] == row.tolist()
    assert lines[-1] == f"5 nearest of {len(known.names)} pictures, weights softmax"
    assert "left out: " in result.stderr
    assert "broken.png: the content is not an image" in result.stderr
    files = sorted(path.name for path in (tmp_path / "features").iterdir())
    assert files == ["test.safetensors", "train.safetensors"]
    again = run(tmp_path / "features" / files[1], tmp_path / "features" / files[0], "-k", 5)
    assert again.stdout == result.stdout


def test_json_and_plot(folders, tmp_path):
    pytest.importorskip("matplotlib")
    options = ["--weights", "distance", "--plot", tmp_path / "confusion.png", "--json"]
    result = run(folders / "train", folders / "test", *options)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    wanted, _, asked = knn_folders(folders / "train", folders / "test", weights="distance")
    assert found["accuracy"] == wanted.accuracy
    assert found["confusion"] == wanted.confusion.tolist()
    assert found["classes"] == list(wanted.classes)
    assert (found["k"], found["train"], found["test"], found["features"]) == (20, 40, 10, "projected")
    assert [it["predicted"] for it in found["pictures"]] == list(wanted.labels)
    assert [it["class"] for it in found["pictures"]] == list(asked.labels)
    np.testing.assert_allclose([it["share"] for it in found["pictures"]], wanted.shares.max(axis=1))
    picture = np.asarray(Image.open(tmp_path / "confusion.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20  # something is drawn
    before = (tmp_path / "confusion.png").read_bytes()
    refused = run(folders / "train", folders / "test", *options)
    assert refused.exit_code == 1
    assert (
        refused.stderr
        == f"error: {tmp_path / 'confusion.png'} exists already; name another file, or overwrite it with --force\n"
    )
    assert (tmp_path / "confusion.png").read_bytes() == before
    assert run(folders / "train", folders / "test", *options, "--force").exit_code == 0


def test_what_makes_no_sense(folders, tmp_path):
    result = run(folders / "train" / "star", folders / "test")
    assert result.exit_code == 1
    assert "itself; expected a folder for each class" in result.stderr.splitlines()[-1]
    assert run(folders / "train", "missing").stderr.splitlines()[-1].startswith("error: there is no missing; ")
    assert run(folders / "train", folders / "test", "-k", 0).exit_code == 2
