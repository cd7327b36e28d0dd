"""Mistakes planted in the backward pass of Transformers' modules are found where they are; without any, nothing is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from aimv2_np import Aimv2Model, Aimv2Processor
from aimv2_np.comparison import compare
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.recording import Recording, record
from aimv2_np.recording.adapters import record_torch
from tests.support.oracle import their_model


@pytest.fixture(scope="module")
def model() -> Aimv2Model:
    return Aimv2Model.from_pretrained(tiny_model_path())


def captioned(turn: int) -> dict[str, np.ndarray]:
    """Three pictures, each with the caption of the one that lies `turn` places on."""
    samples = sample_pictures()[-3:]
    texts = [samples[(i + turn) % 3].caption for i in range(3)]
    processor = Aimv2Processor.from_pretrained(tiny_model_path())
    found = processor(text=texts, images=[s.picture for s in samples], padding=True)
    return {name: np.asarray(array) for name, array in found.items()}


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return captioned(1)  # the captions of others: of its own the model is so sure that the loss has no slope


@pytest.fixture(scope="module")
def reference(model: Aimv2Model, inputs: dict[str, np.ndarray], tmp_path_factory: Any) -> Recording:
    return record(model, inputs, tmp_path_factory.mktemp("reference") / "a.safetensors", gradients=True)


def test_transformers_has_no_fault(model: Aimv2Model, inputs: Any, reference: Recording, tmp_path: Any) -> None:
    other = record_torch(their_model(model), inputs, tmp_path / "b.safetensors", gradients=True)
    result = compare(reference, other, model=model)
    assert result.equal, result.explanation
    gradients = [difference for difference in result.differences if difference.path.startswith("gradient:")]
    assert len(gradients) == len(reference.backward.order) - 1  # both ways of logits are one
    # Differences of rounding stay well below what counts as such (0.46 here): trained weights, peaked scores.
    assert max(difference.excess for difference in gradients) < 3 / 4
    assert compare(reference, other).equal


def test_where_the_model_is_sure_the_gradient_is_all_rounding(model: Aimv2Model, tmp_path: Any) -> None:
    inputs = captioned(0)
    ours = record(model, inputs, tmp_path / "a.safetensors", gradients=True)
    theirs = record_torch(their_model(model), inputs, tmp_path / "b.safetensors", gradients=True)
    for result in (compare(ours, theirs, model=model), compare(ours, theirs)):
        assert result.equal, result.explanation
        assert any("rounding may be 100% of the loss' gradient" in note for note in result.notes)


def constant_root(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    root = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).detach()
    return norm.weight * (x * root)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        return 2 * g


def with_input(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module, Any], Any]:
    return lambda module, args: (change(args[0]), *args[1:])


def plant_norm(theirs: Any) -> None:
    norm = theirs.vision_model.encoder.layers[1].rms_norm2
    norm.forward = lambda x: constant_root(norm, x)


def plant_detached(theirs: Any) -> None:
    theirs.text_model.encoder.layers[0].attention.k_proj.register_forward_pre_hook(with_input(torch.Tensor.detach))


def plant_doubled(theirs: Any) -> None:
    theirs.vision_model.encoder.layers[0].ffn.register_forward_pre_hook(with_input(Doubled.apply))


def plant_weights(theirs: Any) -> None:
    for layer in theirs.vision_model.encoder.layers:
        layer.ffn.up_proj.weight.register_hook(lambda g: 2 * g)


def plant_frozen(theirs: Any) -> None:
    theirs.visual_projection.weight.requires_grad_(False)


def plant_activation(theirs: Any) -> None:
    ffn = theirs.text_model.encoder.layers[1].ffn

    def forward(x: torch.Tensor) -> torch.Tensor:
        gate, up = ffn.gate_proj(x), ffn.up_proj(x)
        factor = torch.sigmoid(gate).detach()  # the derivative of x σ(x), σ a constant
        return ffn.down_proj(gate * factor * up)

    ffn.forward = forward


# What plants it; the identifier, and the module that is named; None where no cause of ours is it.
PLANTED: dict[str, tuple[Callable[[Any], None], str | None, str]] = {
    "a constant root": (plant_norm, "norm_term_missing", "vision_model.encoder.layers.1.rms_norm2"),
    "k detached": (plant_detached, "not_accumulated", "text_model.encoder.layers.0.attention"),
    "the MLP's input twice": (plant_doubled, "accumulated_twice", "vision_model.encoder.layers.0.ffn"),
    "weights twice": (plant_weights, "weights_accumulated_twice", "up_proj"),
    "a frozen weight": (plant_frozen, "weights_detached", "visual_projection"),
    "half of the activation's derivative": (plant_activation, None, "text_model.encoder.layers.1.ffn"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted(name: str, model: Aimv2Model, inputs: Any, reference: Recording, tmp_path: Any) -> None:
    plant, identifier, module = PLANTED[name]
    theirs = their_model(model)
    plant(theirs)
    other = record_torch(theirs, inputs, tmp_path / "b.safetensors", gradients=True)
    result = compare(reference, other, model=model)
    assert not result.equal
    wrong = {difference.giver for difference in result.differences if not difference.equal}
    assert all(module in giver or giver in module for giver in wrong), wrong
    if identifier is None:
        assert result.diagnosis is None, result.explanation
        assert "None of the" in result.explanation
    else:
        assert result.diagnosis.identifier == identifier, result.explanation
        assert module in result.diagnosis.sentence
        assert "It explains all gradients." in result.explanation


def test_a_sum_for_the_mean(model: Aimv2Model, inputs: Any, reference: Recording, tmp_path: Any) -> None:
    def loss(output: Any) -> torch.Tensor:
        logits, diagonal = output.logits_per_text, torch.arange(3)
        both = (cross_entropy(each, diagonal, reduction="sum") for each in (logits, logits.T))
        return sum(both, torch.zeros(())) / 2

    other = record_torch(their_model(model), inputs, tmp_path / "b.safetensors", gradients=True, loss=loss)
    result = compare(reference, other, model=model)
    assert result.diagnosis.identifier == "loss_scaled", result.explanation
    assert "the sum over the batch" in result.diagnosis.sentence
