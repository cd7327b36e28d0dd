"""aimv2_np/comparison/forcing.py: each module's own error, whatever went wrong before it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aimv2_np.cli.app import app
from aimv2_np.comparison import compare
from aimv2_np.comparison.html import page
from aimv2_np.recording import record
from tests.support.models import both_model, pixels, text_model, tokens, vision_model

INPUTS = {
    "both": (both_model, {"pixel_values": pixels(), "input_ids": tokens(), "attention_mask": np.ones((2, 6), int)}),
    "vision": (vision_model, {"pixel_values": pixels()}),
    "native": (lambda: vision_model(is_native=True), {"pixel_values": pixels(2, 12, 18)}),
    "text": (text_model, {"input_ids": tokens()}),
}


def damaged(model, *names, factor=1.02):
    return model.map(lambda path, array: array * np.float32(factor) if path in names else array)


def recordings(tmp_path, model, other, inputs, **options):
    return (
        record(model, inputs, tmp_path / "reference.safetensors"),
        record(other, inputs, tmp_path / "other.safetensors", **options),
    )


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize("name", INPUTS)
def test_every_damaged_matrix_is_found_and_nothing_else(tmp_path, name):
    make, inputs = INPUTS[name]
    model = make()
    weights = [path for path in model.state_dict() if path.endswith("_proj.weight") or ".rms_norm" in path]
    wrong = weights[1::5]
    result = compare(*recordings(tmp_path, model, damaged(model, *wrong), inputs), model=model)
    assert {each.path for each in result.wrong} == {path.removesuffix(".weight") for path in wrong}
    for each in result.wrong:
        assert 0.001 < each.own < 0.0201  # the bias is as it was
    innocent = [each for each in result.differences if each.own is not None and not each.again and not each.wrong]
    others = [each.own for each in innocent]
    assert len(others) > len(wrong)
    assert max(others) == 0
    assert result.step.path == next(each.path for each in result.differences if each.wrong)


@pytest.mark.usefixtures("no_pairs")
def test_where_little_was_recorded_a_module_answers_for_what_is_in_it(tmp_path):
    make, inputs = INPUTS["vision"]
    model = make()
    other = damaged(model, "encoder.layers.0.ffn.up_proj.weight", "encoder.layers.1.attention.v_proj.weight")
    result = compare(*recordings(tmp_path, model, other, inputs, include="encoder.layers.?"), model=model)
    assert [each.path for each in sorted(result.wrong, key=lambda each: each.path)] == [
        "encoder.layers.0", "encoder.layers.1",
    ]  # fmt: skip
    assert "2 modules are wrong by themselves: encoder.layers.0" in result.explanation


def test_one_fault_is_said_to_be_alone(tmp_path):
    make, inputs = INPUTS["both"]
    model = make()
    other = damaged(model, "text_model.encoder.layers.0.attention.out_proj.weight")
    result = compare(*recordings(tmp_path, model, other, inputs), model=model)
    assert "text_model.encoder.layers.0.attention.out_proj (0.0" in result.explanation


def test_without_a_model_or_inputs_nothing_is_claimed(tmp_path):
    make, inputs = INPUTS["vision"]
    model = make()
    ours, theirs = recordings(tmp_path, model, damaged(model, "encoder.layers.0.ffn.up_proj.weight"), inputs)
    for reference in (ours.activations, {path: ours.activations[path] for path in ours.order[3:]}):
        result = compare(dict(reference), theirs)
        assert not result.equal
        assert result.step is None
        assert all(each.own is None for each in result.differences)
        assert "by itself" not in result.explanation


def test_nan_arises_in_one_place(tmp_path):
    make, inputs = INPUTS["vision"]
    model = make()
    ours, theirs = recordings(tmp_path, model, model, inputs)
    arrays = {path: np.array(array) for path, array in theirs.activations.items()}
    broken = theirs.order.index("encoder.layers.0.ffn.down_proj")
    for path in theirs.order[broken:]:
        arrays[path][...] = np.nan
    result = compare(ours, arrays, model=model)
    assert result.wrong[0].own == np.inf
    assert result.step.path == "encoder.layers.0.ffn.down_proj"
    assert json.loads(json.dumps(result.to_dict()))["wrong"][0]["own"] is None


@pytest.mark.usefixtures("no_search")
def test_the_command_and_the_page_show_it(tmp_path):
    make, inputs = INPUTS["vision"]
    model = make()
    model.save_pretrained(tmp_path / "model")
    ours, theirs = recordings(tmp_path, model, damaged(model, "encoder.layers.1.ffn.up_proj.weight"), inputs)
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("reference", "other")]
    arguments = ["compare", *paths, "--model", str(tmp_path / "model"), "--capsule", str(tmp_path / "capsule")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert " own\n" in result.stdout
    assert f"capsule: {tmp_path / 'capsule'}" in result.stdout
    assert (
        "capsule exists already; name another file, or overwrite it with --force"
        in CliRunner().invoke(app, arguments).stderr
    )
    value = json.loads(CliRunner().invoke(app, [*arguments, "--force", "--json"]).stdout)
    assert [each["path"] for each in value["wrong"]] == ["encoder.layers.1.ffn.up_proj"]
    equal = CliRunner().invoke(app, ["compare", paths[0], paths[0], "--capsule", str(tmp_path / "none")])
    assert "capsule: none" in equal.stdout
    text = page(compare(ours, theirs, model=model), "a", "b")
    assert text.count('class="own wrong"') == 1
    assert 'class="own"' in text
    assert "own error 0.02" in text


@pytest.mark.parametrize("change", [{"pixel_values": pixels()[:, ::-1]}, {"input_ids": tokens()[:, ::-1]}])
def test_where_the_inputs_differ_no_module_is_blamed(tmp_path, change):
    make, inputs = INPUTS["both"]
    model = make()
    reference = record(model, inputs, tmp_path / "reference.safetensors")
    other = record(model, {**inputs, **change}, tmp_path / "other.safetensors")
    result = compare(reference, other, model=model)
    assert result.first.path == f"inputs/{next(iter(change))}"
    assert result.wrong == ()
    assert "it is the inputs that differ" in result.explanation


def test_behind_other_inputs_a_wrong_module_is_found_alone(tmp_path):
    make, inputs = INPUTS["vision"]
    model = make()
    name = "encoder.layers.1.ffn.up_proj"
    reference = record(model, inputs, tmp_path / "reference.safetensors")
    turned = {"pixel_values": inputs["pixel_values"][:, ::-1]}
    other = record(damaged(model, f"{name}.weight"), turned, tmp_path / "other.safetensors")
    assert [each.path for each in compare(reference, other, model=model).wrong] == [name]


def test_inputs_of_another_shape_blame_no_module(tmp_path):
    model = vision_model(is_native=True)
    reference = record(model, {"pixel_values": pixels(2, 12, 18)}, tmp_path / "reference.safetensors")
    other = record(model, {"pixel_values": pixels(2, 12, 16)}, tmp_path / "other.safetensors")
    result = compare(reference, other, model=model)
    assert "theirs has the shape (2, 3, 12, 16)" in result.explanation
    assert result.wrong == ()


@pytest.mark.usefixtures("no_pairs")
@pytest.mark.parametrize("kept", [True, False])
def test_without_inputs_it_is_said_that_they_were_assumed(tmp_path, kept):
    make, inputs = INPUTS["vision"]
    model = make()
    reference = record(model, inputs, tmp_path / "reference.safetensors")
    other = record(model, {"pixel_values": -inputs["pixel_values"]}, tmp_path / "other.safetensors")
    given = {f"inputs/{name}": array for name, array in inputs.items()} if kept else {}
    result = compare(reference, dict(other.activations) | given, model=model)
    assert "embeddings.patch_embed" in [each.path for each in result.wrong]
    assert ("The other side recorded no inputs" in result.explanation) is not kept
