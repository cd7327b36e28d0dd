"""aimv2_np/comparison/sets.py: errors over a set of inputs."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aimv2_np.cli.app import app
from aimv2_np.comparison.sets import compare_sets, pairs_in
from aimv2_np.recording import record
from tests.comparison.test_forcing import damaged
from tests.support.models import both_model, pixels, tokens

pytestmark = pytest.mark.usefixtures("no_search")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    model = both_model()
    model.save_pretrained(folder / "model")
    (folder / "ours").mkdir()
    (folder / "theirs").mkdir()
    for i in range(4):
        inputs = {"pixel_values": pixels(3, seed=i), "input_ids": tokens(6, seed=i)}
        record(model, inputs, folder / "ours" / f"{i}.safetensors")
        other = damaged(model, "vision_model.encoder.layers.1.ffn.up_proj.weight", factor=1 + 0.01 * (i + 1))
        record(other, inputs, folder / "theirs" / f"{i}.safetensors")
    return model, folder


def test_the_spread_of_errors(folders):
    model, folder = folders
    result = compare_sets(pairs_in(folder / "ours", folder / "theirs"), model=model)
    assert list(result.comparisons) == ["0", "1", "2", "3"]
    assert not result.equal
    worst = result.worst[0]
    assert worst.path == "vision_model.encoder.layers.1.ffn.up_proj"
    assert (worst.count, worst.equal) == (4, 0)
    assert worst.own == worst.relative  # nothing was wrong before
    assert 0 < worst.relative[0] < worst.relative[1] <= worst.relative[2] < 0.041
    np.testing.assert_allclose(worst.snr, -20 * np.log10(worst.relative), atol=6)
    assert worst.snr[-1] == pytest.approx(-20 * np.log10(worst.relative[-1]))
    assert all(peak > snr for peak, snr in zip(worst.psnr, worst.snr, strict=True))
    before = next(each for each in result.modules if each.path == "vision_model.encoder.layers.0")
    assert (before.equal, before.relative, before.snr) == (4, (0, 0, 0), (np.inf,) * 3)


def test_agreement_of_logits():
    ours = np.array([[9.0, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6]], np.float32)
    theirs = np.array([[8.0, 9, 7, 6, 5, 4], [6, 2, 3, 4, 5, 7]], np.float32)
    result = compare_sets({"a": ({"logits_per_image": ours}, {"logits_per_image": theirs})})
    assert result.agreement == {"logits_per_image top 1": 0.5, "logits_per_image top 5": 0.9}


def test_what_cannot_be_paired(tmp_path, folders):
    _, folder = folders
    with pytest.raises(ValueError, match="no recording of one name in common, but 0 and 4"):
        pairs_in(tmp_path, folder / "ours")
    with pytest.raises(ValueError, match="pairs is empty"):
        compare_sets({})


def test_the_command_takes_two_folders(folders):
    _, folder = folders
    arguments = ["compare", str(folder / "ours"), str(folder / "theirs"), "--model", str(folder / "model")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "different: 4 of 4 pairs" in result.stdout
    assert "logits_per_image top 1" in result.stdout
    value = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert value["pairs"]["2"] == {"equal": False, "first": "vision_model.encoder.layers.1.ffn.up_proj"}
    same = CliRunner().invoke(app, ["compare", str(folder / "ours"), str(folder / "ours")])
    assert same.exit_code == 0
    assert "the same: 4 pairs" in same.stdout
    mixed = CliRunner().invoke(app, ["compare", str(folder / "ours"), str(folder / "ours" / "0.safetensors")])
    assert mixed.exit_code == 2
    assert "expected two recordings, or two folders" in mixed.stderr
    wrong = CliRunner().invoke(app, [*arguments, "--html", str(folder / "page.html")])
    assert wrong.exit_code == 2
    assert "of one pair" in wrong.stderr


def test_sets_of_little_coverage_are_not_called_the_same(folders, tmp_path):
    model, folder = folders
    inputs = {"pixel_values": pixels(3, seed=0), "input_ids": tokens(6, seed=0)}
    record(model, inputs, tmp_path / "0.safetensors", include="*.ffn")
    arguments = ["compare", str(folder / "ours"), str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "0: what was compared is the same, but it is" in result.stderr
    assert CliRunner().invoke(app, [*arguments, "--partial"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--require", "*.ffn"]).exit_code == 0
    lacking = CliRunner().invoke(app, [*arguments, "--require-all"])
    assert lacking.exit_code == 2
    assert "required modules" in lacking.stderr
