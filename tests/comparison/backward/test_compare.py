"""Gradients are compared where activations agree; each module is judged by its own derivative."""

import numpy as np
import pytest

from aimv2_np.comparison import compare
from aimv2_np.gradients.variable import value_of
from aimv2_np.network.contrastive import contrastive_loss
from aimv2_np.recording import Recording, record
from tests.support.backward_faults import PLANTED
from tests.support.models import both_model, pixels, text_model, tokens, vision_model

GRADIENT = "gradient:"
MODELS = {
    "both": lambda seed: (both_model(seed), {"pixel_values": pixels(3, seed=seed), "input_ids": tokens(3, seed=seed)}),
    "more texts": lambda seed: (both_model(seed), {"pixel_values": pixels(2, seed=seed), "input_ids": tokens(3)}),
    "head": lambda seed: (vision_model(seed, use_head=True), {"pixel_values": pixels(2, seed=seed)}),
    "native": lambda seed: (vision_model(seed, use_head=True, is_native=True), {"pixel_values": pixels(2, 12, 16)}),
    "biases": lambda seed: (
        vision_model(seed, use_head=False, qkv_bias=True, mlp_bias=True), {"pixel_values": pixels(2)}
    ),
    "text": lambda seed: (text_model(seed), {"input_ids": tokens(3, seed=seed)}),
    "images": lambda seed: (both_model(seed), {"pixel_values": pixels(2, seed=seed)}),
}  # fmt: skip


def gradients_of(result):
    return [difference for difference in result.differences if difference.path.startswith(GRADIENT)]


@pytest.mark.parametrize("given", ["model", "no model"])
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_rounding_accuses_nobody(name, inner, given, tmp_path):
    """The other side is the same in float64, rounded to float32: its errors are float32's, and not the reference's."""
    for seed in range(2):
        model, inputs = MODELS[name](seed)
        reference = record(model, inputs, tmp_path / "a", gradients=True, inner=inner, overwrite=True)
        wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
        other = record(model.to(dtype="float64"), wide, tmp_path / "b", gradients=True, inner=inner, overwrite=True)
        arrays = {path: array.astype(np.float32) for path, array in other.activations.items()}
        result = compare(reference, arrays, model=model if given == "model" else None)
        assert result.equal, result.explanation
        assert len(gradients_of(result)) > 40
        for difference in gradients_of(result):
            takes_part = bool(reference.array(difference.path).any())
            assert difference.by_own == (given == "model" and takes_part), difference.path
        assert not result.missing
        words = result.explanation
        assert "activations and" in words
        assert "gradients that both sides have differ by no more than rounding" in words


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_half_precision_is_rounding_too(dtype, model, inputs, reference, tmp_path):
    other = record(model.to(dtype=dtype), inputs, tmp_path / "b", gradients=True)
    result = compare(reference, other, model=model)
    assert result.equal, result.explanation


def test_forward_first(model, reference):
    """Where an activation differs, gradients are of other things."""
    arrays = dict(reference.activations)
    path = "vision_model.encoder.layers.1.ffn"
    arrays |= {path: 1.1 * arrays[path], GRADIENT + path: 2 * arrays[GRADIENT + path]}
    result = compare(reference, arrays, model=model)
    assert result.first.path == path
    assert not gradients_of(result)
    assert any("gradients were not compared" in note for note in result.notes)


def test_without_gradients_on_one_side_nothing_changes(model, inputs, reference, tmp_path):
    plain = record(model, inputs, tmp_path / "b")
    for one, other in ((reference, plain), (plain, reference)):
        result = compare(one, other, model=model)
        assert result.equal
        assert result.coverage.share == 1
        assert not result.missing
        assert not gradients_of(result)
        assert any("of one side alone" in note for note in result.notes)
    assert not compare(plain, plain, model=model).notes


def test_an_error_is_not_blamed_on_what_lies_further_back(model, reference, recorded):
    """One module's derivative is wrong: every gradient behind it differs, and that module alone is accused."""
    _, planting, _ = PLANTED["softmax, no sum"]
    with planting(lambda path: path == "vision_model.encoder.layers.1.attention"):
        other = recorded()
    result = compare(reference, other, model=model)
    assert {difference.giver for difference in result.differences if not difference.equal} == {
        "vision_model.encoder.layers.1.attention"
    }
    further = "gradient:vision_model.encoder.layers.0"
    behind = [difference for difference in gradients_of(result) if difference.path.startswith(further)]
    assert all(difference.equal for difference in behind)
    assert min(difference.relative for difference in behind if difference.path.endswith(("ffn", "attention"))) > 1e-3
    order = [difference.path for difference in gradients_of(result)]
    chain = ["logits_per_text", "image_embeds", "vision_model.head", "vision_model.encoder.layers.0"]
    assert sorted(chain, key=lambda path: order.index(GRADIENT + path)) == chain
    assert result.first.to_dict()["giver"] == "vision_model.encoder.layers.1.attention"


@pytest.mark.parametrize("name", ["softmax, no sum", "norm, first term alone", "not by the MLP", "no activation'"])
def test_named_where_layers_alone_were_recorded(name, model, inputs, reference, tmp_path):
    identifier, planting, place = PLANTED[name]
    globs = ["*_embeds", "*embeddings", "*.layers.?", "*rms_norm", "*.head", "gradient:*weight", "gradient:logits*"]
    with planting(lambda path: path.endswith(place)):
        other = record(model, inputs, tmp_path / "b", globs, gradients=True)
    result = compare(reference, other, model=model)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == identifier, result.explanation


def test_named_from_gradients_of_weights_alone(model, inputs, reference, tmp_path):
    with PLANTED["no activation'"][1](lambda path: path.endswith("1.ffn")):
        other = record(model, inputs, tmp_path / "b", ["*_embeds", "*.layers.?", "gradient:*.weight"], gradients=True)
    result = compare(reference, other, model=model)
    assert not result.equal
    wrong = [difference for difference in result.differences if not difference.equal]
    assert all(".layers.1." in difference.path or ".layers.0" in difference.path for difference in wrong)


def test_without_a_model_the_first_that_differs_is_told(reference, recorded):
    with PLANTED["softmax, no sum"][1](lambda path: path == "vision_model.encoder.layers.1.attention"):
        other = recorded()
    result = compare(reference, other)
    assert ".layers.1.attention." in result.first.path
    assert result.diagnosis is None
    assert result.first.own is None


def test_statistics(model, inputs, tmp_path):
    a = record(model, inputs, tmp_path / "a", gradients=True, statistics=True)
    same = record(model, inputs, tmp_path / "b", gradients=True, statistics=True)
    assert compare(a, same, model=model).equal
    with PLANTED["no activation'"][1](lambda path: path.endswith("ffn")):
        other = record(model, inputs, tmp_path / "c", gradients=True, statistics=True)
    result = compare(a, other)
    assert result.first.path.startswith(GRADIENT)
    assert result.first.from_statistics


def test_a_gradient_where_the_reference_has_none(model, inputs, reference, tmp_path):
    """Locked-image tuning: the image tower is held constant."""

    def locked(a):
        return contrastive_loss(a["text_embeds"] @ value_of(a["image_embeds"]).T)

    def unlocked(a):
        return contrastive_loss(a["text_embeds"] @ a["image_embeds"].T)

    one, other = (
        record(model, inputs, tmp_path / name, gradients=True, loss=loss)
        for name, loss in (("a", locked), ("b", unlocked))
    )
    assert not one.backward.array("visual_projection").any()
    assert compare(one, one, model=model).equal
    result = compare(one, other, model=model)
    assert result.diagnosis.identifier == "stop_gradient_missing", result.explanation
    assert "image_embeds" in result.diagnosis.sentence


def test_a_loss_of_ones_own(model, inputs, tmp_path):
    """What the network makes of its gradient is judged, whatever it is."""

    def loss(a):
        return (a["text_embeds"] * np.arange(15)).sum() + a["image_embeds"][0, 3]

    def of_logits(a):
        return (a["logits_per_text"] * np.arange(9).reshape(3, 3)).sum()

    for each in (of_logits,):
        one = record(model, inputs, tmp_path / "a", gradients=True, loss=each, overwrite=True)
        with PLANTED["no scale"][1](lambda path: path == "text_model.encoder.layers.0.attention"):
            other = record(model, inputs, tmp_path / "b", gradients=True, loss=each, overwrite=True)
        result = compare(one, other, model=model)
        assert result.diagnosis.identifier == "scale_missing_in_derivative", result.explanation
        assert compare(one, one, model=model).equal


def test_names_of_others_and_transposed_weights(reference, model):
    """Gradients follow the names of their modules, and lie as their side's weights lie."""
    arrays = {}
    for path, array in reference.activations.items():
        kind = GRADIENT if path.startswith(GRADIENT) else ""
        name = path.removeprefix(GRADIENT).replace("ffn", "mlp")
        if kind and name.endswith("up_proj.weight"):
            name, array = name.replace("weight", "kernel"), array.T
        arrays[f"{kind}net.{name}"] = array
    result = compare(reference, arrays, model=model, mapping=["net.*.mlp*=*.ffn*", "net.*=*"])
    assert result.equal, result.explanation
    assert len(gradients_of(result)) == len(reference.backward.order) - 1  # logits both ways are one
    assert not result.missing


def test_logits_that_are_used_both_ways(model, inputs, reference, tmp_path):
    """The loss may take its two halves from logits_per_text and logits_per_image."""

    def loss(a):
        from aimv2_np.network.contrastive import one_way_loss

        return (one_way_loss(a["logits_per_text"]) + one_way_loss(a["logits_per_image"])) / 2

    other = record(model, inputs, tmp_path / "b", gradients=True, loss=loss)
    assert other.backward.array("logits_per_image").any()
    result = compare(reference, other, model=model)
    assert result.equal, result.explanation


def test_missing_gradients_are_told(reference, model):
    lost = GRADIENT + "vision_model.encoder.layers.0.ffn.up_proj.weight"
    arrays = {path: array for path, array in reference.activations.items() if path != lost}
    result = compare(reference, Recording.from_arrays(arrays, dict(reference.inputs)), model=model)
    assert result.equal
    assert lost in result.missing
    assert result.coverage.share == 1


def test_another_shape_is_told(reference, model):
    path = GRADIENT + "vision_model.encoder.layers.0.ffn.up_proj.weight"
    arrays = dict(reference.activations) | {path: reference.activations[path][:, :3]}
    result = compare(reference, arrays, model=model)
    assert result.first.path == path
    assert "shape" in result.explanation


def test_tolerances_of_gradients(reference, model):
    path = "gradient:vision_model.encoder.layers.0.ffn.up_proj.weight"
    arrays = dict(reference.activations) | {path: reference.activations[path] * np.float32(1.001)}
    assert not compare(reference, arrays, model=model).equal
    for tolerances in ({"gradient:*up_proj.weight": 0.01}, 0.01):
        result = compare(reference, arrays, model=model, tolerances=tolerances)
        assert result.equal, result.explanation
        assert not result.notes
    assert not compare(reference, arrays, model=model, tolerances={"gradient:*down_proj.weight": 0.01}).equal


def test_names_behind_a_prefix(reference, model):
    arrays = {
        f"{GRADIENT if path.startswith(GRADIENT) else ''}module.{path.removeprefix(GRADIENT)}": array
        for path, array in reference.activations.items()
    }
    result = compare(reference, arrays, model=model)
    assert result.equal, result.explanation
    assert not result.missing


@pytest.mark.parametrize("given", ["model", "no model"])
def test_the_gradient_by_the_pixels_is_the_last_of_all(given, tmp_path):
    model, inputs = MODELS["head"](0)
    reference = record(model, inputs, tmp_path / "a", gradients=True)
    path = "gradient:pixel_values"
    result = compare(reference, dict(reference.activations), model=model if given == "model" else None)
    found = gradients_of(result)
    outputs = [each.path for each in found if not each.path.endswith(("weight", "bias", "cls_token"))]
    assert result.equal
    assert outputs[-1] == path
    arrays = {**reference.activations, path: 2 * reference.activations[path]}
    result = compare(reference, arrays, model=model if given == "model" else None)
    assert [each.path for each in gradients_of(result) if not each.equal] == [path]
