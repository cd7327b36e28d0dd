import re
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from aimv2_np.cli.app import app
from aimv2_np.cli.demo import MAKER, PICTURE
from aimv2_np.data import sample_pictures
from tests.support.pictures import photo

pytestmark = pytest.mark.usefixtures("embedded", "here")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def drawing(monkeypatch):
    """Draws without matplotlib, and remembers what it was asked to draw."""
    asked = []

    class Figure:
        def savefig(self, file: BinaryIO, *, format: str, dpi: int, metadata: dict[str, str]) -> None:
            info = PngInfo()
            for key, value in metadata.items():
                info.add_text(key, value)
            photo(30, 40).save(file, format, pnginfo=info)

    def draw_pooling_attention(model: object, processor: object, images: list[object], captions: list[str]) -> Figure:
        asked.append((len(images), captions))
        return Figure()

    monkeypatch.setattr("aimv2_np.viz.draw_pooling_attention", draw_pooling_attention)
    return asked


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


def best(result: Result) -> dict[int, tuple[str, str, float]]:
    """Of each picture the mark, the caption and the probability of the best answer."""
    lines = re.findall(r"^(\d+) +(\S) +(\S.*?)  +\S* +([\d.]+) %$", result.stdout, re.MULTILINE)
    return {int(number): (mark, caption, float(share)) for number, mark, caption, share in lines}


@pytest.mark.usefixtures("no_matplotlib")
def test_the_right_captions_are_named(here):
    result = run()
    assert result.exit_code == 0
    assert result.stderr == ""
    answers = best(result)
    samples = sample_pictures()
    assert list(answers) == list(range(1, len(samples) + 1))
    right = [i for i, sample in enumerate(samples, 1) if answers[i][1] == sample.caption]
    assert len(right) >= len(samples) - 1
    assert f"{len(right)} of {len(samples)} right." in result.stdout
    for i, (mark, _, _) in answers.items():
        assert mark == ("✓" if i in right else "✗")
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "aimv2-tiny-shapes" in result.stdout
    assert re.search(r"numpy: loaded in \d+ ms, classified in \d+ ms", result.stdout)
    assert f"NumPy {np.__version__}" in result.stdout
    assert "pip install 'aimv2-np[viz]'" in " ".join(result.stdout.split())
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("no_matplotlib")
def test_mistakes_are_shown_with_the_truth_beside_them(monkeypatch):
    samples = sample_pictures()
    swapped = [samples[1], samples[0], *samples[2:]]
    lying = [type(s)(t.picture, s.caption, s.seen) for s, t in zip(samples, swapped, strict=True)]
    monkeypatch.setattr("aimv2_np.data.sample_pictures", lambda seed=0: lying if seed == 0 else sample_pictures(seed))
    result = run()
    marks = [mark for mark, _, _ in best(result).values()]
    assert marks[:2] == ["✗", "✗"]
    for i in (0, 1):  # the caption that is called true is there, marked, wherever it ranks
        assert re.search(rf"^ +✓ +{lying[i].caption} ", result.stdout, re.MULTILINE)
    assert f"{marks.count('✓')} of 8 right." in result.stdout
    assert marks.count("✓") <= 6


def test_the_attention_picture(here, drawing):
    result = run()
    assert drawing == [(8, [caption for _, caption, _ in best(result).values()])]
    assert result.exit_code == 0
    assert f"see {PICTURE}" in result.stdout
    with Image.open(here / PICTURE) as image:
        image.load()
        assert image.info["Software"] == MAKER
    before = (here / PICTURE).stat().st_ino
    assert run().exit_code == 0  # its own picture is replaced, by another file
    assert (here / PICTURE).stat().st_ino != before
    assert [path.name for path in here.iterdir()] == [PICTURE]


@pytest.mark.usefixtures("drawing")
def test_what_is_not_its_own_is_not_overwritten(here):
    photo(20, 20).save(here / PICTURE)
    before = (here / PICTURE).read_bytes()
    result = run()
    assert result.exit_code == 0
    assert "not drawn: demo-attention.png is there and no picture of this demo" in " ".join(result.stdout.split())
    refused = run("--output", PICTURE)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith("error: demo-attention.png is there and no picture of this demo")
    assert (here / PICTURE).read_bytes() == before
    assert run("--output", PICTURE, "--force").exit_code == 0
    assert (here / PICTURE).read_bytes() != before


@pytest.mark.usefixtures("drawing")
def test_the_picture_goes_where_it_is_told(here):
    (here / "folder").mkdir()
    assert run("--output", "folder/x.png").exit_code == 0
    assert (here / "folder" / "x.png").read_bytes().startswith(b"\x89PNG")
    missing = run("--output", "nowhere/x.png")
    assert missing.exit_code == 1
    assert (
        missing.stderr
        == "error: nowhere/x.png cannot be written: there is no folder nowhere to write x.png to; make it first\n"
    )


@pytest.mark.usefixtures("no_matplotlib")
def test_asking_for_a_picture_without_matplotlib(here):
    result = run("--output", "x.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "aimv2-np[viz]" in result.stderr
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("no_matplotlib")
def test_pictures_of_ones_own(here):
    samples = [sample for sample in sample_pictures() if " of " not in sample.caption][:2]
    paths = [here / f"{i}.png" for i in range(len(samples))]
    for sample, path in zip(samples, paths, strict=True):
        sample.picture.save(path)
    result = run(*paths)
    assert result.exit_code == 0
    assert "2 pictures, 64 captions" in result.stdout
    flat = result.stdout.split("backend")[0]
    for sample in samples:
        colour, shape = sample.caption.split()[-2:]
        assert f"{colour} {shape}" in flat
    assert "✓" not in result.stdout
    assert " right." not in result.stdout
    assert "all else it must guess" in result.stdout


@pytest.mark.usefixtures("no_matplotlib")
def test_a_picture_that_is_none():
    missing = run("missing.png")
    assert missing.exit_code == 1
    assert missing.stderr == "error: image 0 (missing.png): there is no such file; check the path\n"
    Path("text.png").write_text("no picture")
    assert run("text.png").stderr.startswith("error: image 0 (text.png): the content is not an image")
