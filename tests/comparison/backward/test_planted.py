"""Each cause of a wrong gradient, planted in a derivative, is named; and where."""

import numpy as np
import pytest

from aimv2_np.comparison import compare
from aimv2_np.comparison.diagnosis.backward.advice import CHANGES
from aimv2_np.comparison.diagnosis.backward.search import FAULTS
from aimv2_np.network.contrastive import contrastive_loss, one_way_loss
from aimv2_np.recording import record
from tests.support.backward_faults import PLANTED, unclamped

LOSSES = {
    "summed over the batch": ("loss_scaled", lambda x: 3 * contrastive_loss(x)),
    "a loss scale": ("loss_scaled", lambda x: 65536 * contrastive_loss(x)),
    "both ways summed": ("loss_scaled", lambda x: one_way_loss(x) + one_way_loss(x.T)),
    "texts alone": ("loss_one_way", one_way_loss),
    "half of the images": ("loss_one_way", lambda x: 0.5 * one_way_loss(x.T)),
    "no target": ("loss_without_target", lambda x: contrastive_loss(x) + (x * np.eye(len(x)) / len(x)).sum()),
    "the negative": ("wrong_sign", lambda x: -contrastive_loss(x)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_named(name, model, reference, recorded):
    identifier, planting, place = PLANTED[name]
    with planting(lambda path: path.endswith(place)):
        other = recorded()
    result = compare(reference, other, model=model)
    assert not result.equal
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == identifier, result.explanation
    assert "It explains all gradients." in result.explanation
    assert result.diagnosis.explained > 0.99
    if place:  # the module that has it is named, or the one that it is in
        words = [word.strip(",:") for word in result.diagnosis.sentence.split()]
        assert any(word.endswith((place, place.rpartition(".")[0] or place)) for word in words), result.explanation


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, model, reference, recorded):
    identifier, loss = LOSSES[name]
    result = compare(reference, recorded(loss=lambda a: loss(a["logits_per_text"])), model=model)
    assert result.diagnosis is not None, result.explanation
    assert result.first.path == "gradient:logits_per_text"
    assert result.diagnosis.identifier == identifier, result.explanation
    assert "It explains all gradients." in result.explanation


@pytest.mark.parametrize("way", ["beyond", "of the limit"])
def test_a_temperature_beyond_its_limit(way, model, inputs, tmp_path):
    """It has no gradient where it is clamped; e^s, or the limit itself, would have one."""
    limited = model.map(lambda path, array: np.float32(5.0) if path.endswith("logit_scale") else array)
    reference = record(limited, inputs, tmp_path / "a.safetensors", gradients=True)
    assert not reference.backward.array("logit_scale").any()
    with unclamped(lambda s, most: np.exp(s if way == "beyond" else np.log(most))):
        other = record(limited, inputs, tmp_path / "b.safetensors", gradients=True)
    result = compare(reference, other, model=limited)
    assert [difference.path for difference in result.differences if not difference.equal] == ["gradient:logit_scale"]
    assert result.diagnosis.identifier == "logit_scale_gradient", result.explanation
    assert ("beyond its limits" if way == "beyond" else "of its limit") in result.diagnosis.sentence


def test_two_causes_one_behind_the_other(model, reference, recorded):
    one, other = PLANTED["no scale for k"], PLANTED["gate without up"]
    first = one[1](lambda path: path == "text_model.encoder.layers.1.attention")
    with first, other[1](lambda path: path == "vision_model.encoder.layers.0.ffn"):
        both_planted = recorded()
    result = compare(reference, both_planted, model=model)
    assert result.diagnosis is not None, result.explanation
    both = f"{result.diagnosis.sentence} {result.explanation}"
    assert result.diagnosis.identifier in {"scale_missing_in_derivative", "gate_derivative_wrong"}
    assert "With this fault planted, the next cause" in result.explanation
    assert "text_model.encoder.layers.1.attention leaves the scale" in both
    assert "vision_model.encoder.layers.0.ffn gives the gradient by gate without up" in both
    assert "It explains all gradients." in result.explanation


def test_every_cause_is_planted():
    named = {identifier for identifier, _, _ in PLANTED.values()} | {identifier for identifier, _ in LOSSES.values()}
    assert {fault.identifier for fault in FAULTS} == named
    assert set(CHANGES) == named | {"stop_gradient_missing"}  # test_compare.py
