import sys

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aimv2_np.cli.app import app
from tests.support.pictures import photo
from tests.support.two_towers import save_text_tower, save_vision_tower


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a <picture>.png"
    photo(40, 60).save(path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def assert_error(result: Result, message: str, code: int = 1) -> None:
    assert result.exit_code == code
    assert result.stdout == ""
    assert message in " ".join(result.stderr.split())
    if code == 1:
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("error: ")


def test_a_page_needs_no_matplotlib(two_towers, picture, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "out.html"
    result = run(picture, "--text", "a cat", "a dog", "-o", out, "--model", two_towers)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{out}: ")
    text = out.read_text("utf-8")
    assert "a &lt;picture&gt;.png" in text
    assert '"text":"a dog"' in text
    assert_error(run(picture, "-o", out, "--model", two_towers), "overwrite it with --force")
    assert run(picture, "-o", out, "--model", two_towers, "--force").exit_code == 0
    assert_error(run(picture, "-o", tmp_path / "out.png", "--model", two_towers), "pip install 'aimv2-np[viz]'")
    assert not (tmp_path / "out.png").exists()


def test_a_sheet(picture, tmp_path, two_towers):
    pytest.importorskip("matplotlib.figure", reason="drawing needs matplotlib, the extra viz")
    out = tmp_path / "out.PNG"
    result = run(
        picture, "-o", out, "--model", two_towers, "--patch", "1,2", "--layer", 0, "--head", 1, "--text", "a cat"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    with Image.open(out) as image:
        assert image.format == "PNG"


def test_computation_says_of_which_layers(picture, tmp_path, two_towers):
    out = tmp_path / "out.html"
    assert run(picture, "-o", out, "--model", two_towers, "--computation", 1, 0).exit_code == 0
    assert '"computations":{"layers":[0,1],"heads":[0,1],"width":2' in out.read_text("utf-8")
    assert run(picture, "-o", out, "--model", two_towers, "--force", "--computation", 0).exit_code == 0
    assert '"computations":{"layers":[0],' in out.read_text("utf-8")
    assert_error(
        run(picture, "-o", out, "--model", two_towers, "--force", "--computation", 2), "layer is 2; expected 0"
    )
    wrong = run(picture, "-o", tmp_path / "out.png", "--model", two_towers, "--computation", 0)
    assert_error(wrong, "--computation is about the page", 2)


def test_the_embedded_model_says_that_it_knows_little(picture, tmp_path):
    result = run(picture, "-o", tmp_path / "out.html")
    assert result.exit_code == 0
    assert "coloured shapes only" in result.stderr


def test_errors_are_one_sentence(picture, two_towers, tmp_path):
    vision = save_vision_tower(tmp_path / "vision", use_head=False)
    text = save_text_tower(tmp_path / "text")
    native = save_vision_tower(tmp_path / "native", is_native=True)
    out = tmp_path / "out.html"
    assert_error(
        run(picture, "-o", out, "--model", vision, "--text", "a cat"), "a vision tower alone, which knows no captions"
    )
    assert_error(run(picture, "-o", out, "--model", text), "explaining pictures needs a vision tower")
    assert_error(run(picture, "-o", out, "--model", two_towers, "--layer", 2), "layer is 2; expected 0 to 1")
    assert_error(run(picture, "-o", out, "--model", two_towers, "--head", 7), "head is 7; expected 0 to")
    assert_error(run(picture, "-o", out, "--model", two_towers, "--patch", "2,0"), "patch is 2, 0; expected a row")
    assert_error(run(picture, "-o", out, "--model", two_towers, "--text", "cat " * 99), "tokens")
    assert_error(run(picture, "-o", tmp_path / "out.jpg", "--model", two_towers), "ends in none of .png, .html")
    assert_error(run(tmp_path / "no.png", "-o", out, "--model", two_towers), "no.png")
    assert_error(run(picture, "-o", out, "--model", two_towers, "--patch", "2"), "expected its row and column", 2)
    photo(5, 60).save(tmp_path / "small.png")
    assert_error(run(tmp_path / "small.png", "-o", out, "--model", native), "smaller than one 8x8 patch")
    assert not out.exists()


def test_a_vision_tower_alone(picture, tmp_path):
    vision = save_vision_tower(tmp_path / "vision", use_head=False)
    assert run(picture, "-o", tmp_path / "out.html", "--model", vision).exit_code == 0
    assert '"pooling":null' in (tmp_path / "out.html").read_text("utf-8")
