import json
import os

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aimv2_np.cli.app import app
from aimv2_np.tasks import classify, load_classifier
from tests.support.pictures import photo
from tests.support.refusals import assert_error
from tests.support.two_towers import save_two_towers, save_vision_tower


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / "first.png", folder / "second.jpg"]
    for seed, path in enumerate(paths):
        photo(40, 60, seed=seed).save(path)
    return [str(path) for path in paths]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["classify", *map(str, arguments)])


def test_the_table(two_towers, pictures):
    result = run(*pictures, "--model", two_towers, "--labels", "a cat, a dog", "--label", "a bird, or two")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * 4 + 1
    assert lines[0] == pictures[0]
    assert lines[4] == pictures[1]
    for block in (lines[1:4], lines[5:8]):
        shares = [float(line.split()[-2]) for line in block]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(100, abs=0.15)  # three numbers rounded to 0.1
        names = {line.strip().split("  ")[0] for line in block}
        assert names == {"a cat", "a dog", "a bird, or two"}
        bars = [len(line) - len(line.replace("█", "")) for line in block]
        assert bars == [int(share * 24 / 100) for share in shares]
    assert "numpy, float32" in lines[8]
    assert all(len(line) <= 80 for line in lines[1:4])


def test_json_is_what_the_library_says(two_towers, pictures):
    labels = ["a cat", "a dog"]
    result = run(
        *pictures, "--model", two_towers, "--labels", ",".join(labels), "--template", "one {}", "--json",
        "--dtype", "float64",
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.stderr == ""
    model, processor = load_classifier(two_towers, dtype="float64")
    expected = classify(pictures, labels, model=model, processor=processor, template="one {}")
    rows = json.loads(result.stdout)
    assert [row["image"] for row in rows] == pictures
    assert [row["top"] for row in rows] == list(expected.top)
    assert [list(row) for row in rows] == [["image", "probabilities", "top"]] * 2
    for row, probabilities in zip(rows, expected.probabilities, strict=True):
        assert list(row["probabilities"]) == labels
        np.testing.assert_allclose(list(row["probabilities"].values()), probabilities, rtol=1e-12)


def test_many_labels_are_cut_in_the_table_only(two_towers, pictures):
    arguments = (pictures[0], "--model", two_towers, "--labels", ",".join(f"label {i}" for i in range(13)))
    result = run(*arguments)
    assert "and 3 more labels" in result.stdout
    assert len(result.stdout.splitlines()) == 1 + 10 + 1 + 1
    assert len(json.loads(run(*arguments, "--json").stdout)[0]["probabilities"]) == 13


def test_long_labels_are_folded_not_cut(two_towers, pictures):
    label = "dog " * 12 + "end"
    result = run(pictures[0], "--model", two_towers, "--label", label, "--label", "cat")
    assert all(len(line) <= 80 for line in result.stdout.splitlines()[1:4])
    assert result.stdout.count("dog") == 12
    assert "end " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "labels is []; expected at least two"),
        (["--label", "cat"], "labels is ['cat']; expected at least two"),
        (["--labels", " , cat ,"], "labels is ['cat']; expected at least two"),
        (["--labels", "cat,dog", "--label", "cat"], "the label 'cat' is there twice"),
        (["--labels", "cat,CAT"], "are the same to the tokenizer"),
        (["--labels", "cat,dog", "--label", " "], "label 3 is blank"),
        (["--labels", "cat,dog", "--template", "a photo"], "template is 'a photo'; expected text with {}"),
        (["--labels", "cat,dog", "--template", "{} " * 20], "tokens long; the text tower takes at most 16"),
        (["--labels", "cat,dog", "--model", "nowhere"], "there is no folder 'nowhere'"),
    ],
)
def test_one_line_per_error(two_towers, pictures, arguments, message):
    model = [] if "--model" in arguments else ["--model", two_towers]
    result = run(pictures[0], *model, *arguments)
    assert_error(result, message)


def test_labels_are_checked_before_anything_is_fetched(pictures):
    result = run(pictures[0], "--model", "some/repository", "--label", "cat")
    assert_error(result, "labels is ['cat']; expected at least two")


def test_bad_pictures(two_towers, pictures, tmp_path):
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("no picture")
    photo(50, 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:200])
    labels = ("--model", two_towers, "--labels", "cat,dog")
    assert_error(run(pictures[0], tmp_path / "missing.png", *labels), "missing.png): there is no such file")
    assert_error(run(pictures[0], text, *labels), "text.png): the content is not an image")
    assert_error(run(cut, *labels), "cut.png): the image cannot be decoded")
    assert_error(run(tmp_path, *labels), "is a folder")
    # With --json too: nothing but the error, and nothing on stdout.
    assert_error(run(pictures[0], text, *labels, "--json"), "text.png): the content is not an image")


def test_a_model_without_a_text_tower(pictures, tmp_path):
    folder = save_vision_tower(tmp_path / "vision")
    assert_error(run(pictures[0], "--model", folder, "--labels", "cat,dog"), "needs a checkpoint with both towers")


def test_damaged_checkpoints(pictures, tmp_path):
    folder = save_two_towers(tmp_path / "damaged")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    labels = ("--labels", "cat,dog")
    assert_error(run(pictures[0], "--model", folder, *labels), "model.safetensors is truncated")
    weights.unlink()
    assert_error(run(pictures[0], "--model", folder, *labels), "holds no weights")
    (folder / "config.json").write_text("{")
    assert_error(run(pictures[0], "--model", folder, *labels), "config.json is not valid JSON")
    (folder / "config.json").unlink()
    assert_error(run(pictures[0], "--model", folder, *labels), "no config.json")


@pytest.mark.parametrize(
    "arguments", [["--labels", "a,b"], ["x.png", "--dtype", "int8"], ["x.png", "--backend", "torch"], ["--no"]]
)
def test_wrong_usage_exits_with_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr


def test_the_embedded_model_is_the_default_and_says_what_it_knows(tmp_path, embedded):
    Image.new("RGB", (64, 64), (222, 30, 36)).save(tmp_path / "red.png")
    result = run(tmp_path / "red.png", "--labels", "a red thing,a green thing,a blue thing", "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: the embedded model knows coloured shapes only")
    assert set(json.loads(result.stdout)[0]["probabilities"]) == {"a red thing", "a green thing", "a blue thing"}


@pytest.mark.skipif(os.name != "posix", reason="file names of POSIX")
def test_odd_file_names(two_towers, tmp_path):
    path = tmp_path / "\x1b[31mred \udcff.png"  # a colour code, and a byte that is no UTF-8
    photo(20, 20).save(path)
    arguments = (path, "--model", two_towers, "--labels", "cat,dog")
    shown = run(*arguments)
    assert shown.exit_code == 0
    assert "?[31mred ?.png" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert json.loads(run(*arguments, "--json").stdout)[0]["image"] == str(path)


def test_several_templates_and_the_best(two_towers, pictures):
    labels = ["a cat", "a dog", "a bird"]
    templates = ["{}", "a photo of {}"]
    options = [it for template in templates for it in ("--template", template)]
    result = run(*pictures, "--model", two_towers, "--labels", ",".join(labels), *options, "--top", 2, "--json")
    assert result.exit_code == 0, result.stderr
    model, processor = load_classifier(two_towers)
    wanted = classify(pictures, labels, model=model, processor=processor, templates=templates).top_k(2)
    for line, best in zip(json.loads(result.stdout), wanted, strict=True):
        assert list(line["probabilities"].items()) == list(best)
        assert line["top"] == best[0][0]
    table = run(pictures[0], "--model", two_towers, "--labels", ",".join(labels), "--top", 1).stdout.splitlines()
    assert len(table) == 3
    assert "more labels" not in "".join(table)
    twice = run(pictures[0], "--model", two_towers, "--labels", "a,b", "--template", "{}", "--template", "{}")
    assert twice.stderr.startswith("error: the template '{}' is there twice")


@pytest.mark.filterwarnings("default::aimv2_np.UntrainedSizeWarning")
def test_native_pictures_of_many_sizes(tmp_path):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        photo(8 * (20 + 8 * i), 8 * 12, seed=i).save(path)
    result = run(*paths, "--model", folder, "--labels", "a,b", "--max-patches", 300, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert len(json.loads(result.stdout)) == 3
    small = tmp_path / "small.png"
    photo(24, 24).save(small)
    warned = run(small, "--model", folder, "--labels", "a,b")
    assert warned.exit_code == 0
    assert warned.stderr.startswith("warning: image 0 (9): the native model was trained for 112 to 4,096 patches")
