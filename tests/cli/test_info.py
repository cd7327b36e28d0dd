import json

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aimv2_np import Aimv2Model
from aimv2_np.cli.app import app
from aimv2_np.storage import save_safetensors
from tests.support.layouts import folder_of
from tests.support.two_towers import save_text_tower, save_vision_tower, vision_config


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["info", *map(str, arguments)])


def row(result: Result, title: str) -> list[str]:
    """The words after `title` in the one line of the output that begins with it."""
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(title + " ")]
    return line.removeprefix(title).split()


def test_two_towers(two_towers):
    result = run(two_towers)
    model = Aimv2Model.from_pretrained(two_towers)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "Aimv2Model, 603,077 parameters" in result.stdout
    assert model.num_parameters() == 603_077
    assert row(result, "layout") == ["Transformers"]
    assert row(result, "stored as") == ["F32", "(603,077", "numbers)"]
    assert row(result, "memory")[:5] == ["2.41", "MB", "mapped", "from", "the"]
    assert row(result, "vision positions")[:2] == ["learned,", "2x3"]
    assert row(result, "hidden_size") == ["16", "12"]
    assert row(result, "image_size") == ["[16,", "24]"]
    assert row(result, "vocab_size") == ["49408"]
    assert row(result, "projection_dim") == ["8"]
    assert row(result, "vision_model.encoder.layers") == ["2", "x", "2,208", "4,416", "0.7", "%"]
    assert row(result, "all") == ["603,077"]
    assert all(len(line) <= 80 or str(two_towers) in line for line in result.stdout.splitlines())


def test_json(two_towers):
    result = run(two_towers, "--json", "--tree")
    model = Aimv2Model.from_pretrained(two_towers)
    value = json.loads(result.stdout)
    assert result.stderr == ""
    assert value["model"] == "Aimv2Model"
    assert value["parameters"] == sum(part["parameters"] for part in value["modules"]) == model.num_parameters()
    assert value["config"] == json.loads(json.dumps(model.config.to_dict()))
    assert value["memory"] == {"mapped": 4 * model.num_parameters(), "private": 0}
    assert value["layout"] == "transformers"
    assert value["problem"] is None
    assert {name: tuple(it["shape"]) for name, it in value["tensors"].items()} == {
        name: array.shape for name, array in model.state_dict().items()
    }
    assert "tensors" not in json.loads(run(two_towers, "--json").stdout)


def test_the_tree_has_every_tensor(two_towers):
    lines = run(two_towers, "--tree").stdout.splitlines()
    leaves = [line for line in lines if line.endswith("  F32")]
    assert len(leaves) == len(Aimv2Model.from_pretrained(two_towers).state_dict())
    assert "├── logit_scale  scalar  F32" in lines
    (proj,) = [i for i, line in enumerate(lines) if line.endswith("── visual_projection")]
    assert lines[proj + 1].endswith("── weight  8x16  F32")


def test_one_tower(tmp_path):
    vision = run(save_vision_tower(tmp_path / "vision", is_native=True))
    assert vision.exit_code == 0
    assert row(vision, "is_native") == ["true"]
    assert "any grid of 8x8 patches" in vision.stdout
    text = run(save_text_tower(tmp_path / "text"))
    assert text.exit_code == 0
    assert row(text, "max_position_embeddings") == ["16"]


def test_a_configuration_without_weights(tmp_path):
    vision_config().save_pretrained(tmp_path / "bare")
    result = run(tmp_path / "bare", "--tree")
    assert result.exit_code == 0
    assert "the weights are not on this machine" in result.stdout
    assert "in float32" in result.stdout
    assert "weight  16x3x8x8\n" in result.stdout
    assert json.loads(run(tmp_path / "bare", "--json").stdout)["layout"] is None


def test_weights_that_do_not_fit(tmp_path):
    folder = save_vision_tower(tmp_path / "vision")
    (folder / "config.json").unlink()
    vision_config(hidden_size=32).save_pretrained(folder)
    for arguments in ([], ["--json"]):
        result = run(folder, *arguments)
        assert result.exit_code == 1
        assert result.stdout != ""  # what it is, all the same
        assert result.stderr.startswith("error: the tensors in ")
        assert "of another shape" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert "of another shape" in json.loads(result.stdout)["problem"]


def test_names_in_a_file_cannot_steer_the_terminal(tmp_path):
    folder = save_vision_tower(tmp_path / "vision")
    (folder / "model.safetensors").unlink()
    save_safetensors(folder / "model.safetensors", {"\x1b[31mred.weight": np.zeros((2, 2), np.float32)})
    result = run(folder, "--tree")
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout + result.stderr
    assert "?[31mred" in result.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no config.json"),
        ("{", "config.json is not valid JSON"),
        ('{"model_type": "bert"}', "model_type is 'bert'"),
        ('{"model_type": "aimv2_vision_model", "hidden_size": -1}', "hidden_size is -1"),
    ],
)
def test_one_line_per_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_pickles_are_refused(tmp_path):
    vision_config().save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "never read here" in result.stderr


def test_the_embedded_model_is_the_default(embedded):
    result = run()
    assert result.exit_code == 0
    assert result.stdout.startswith("aimv2-tiny-shapes  Aimv2Model, ")
    assert row(result, "vision positions")[:2] == ["learned,", "8x8"]


def test_other_layouts(tmp_path):
    folder = folder_of(tmp_path, "apple-lit", "flax")
    result = run(folder, "--tree")
    assert result.exit_code == 0
    assert row(result, "layout") == ["Apple", "Flax"]
    assert "patch_embed" in result.stdout
    assert json.loads(run(folder, "--json").stdout)["layout"] == "flax"
