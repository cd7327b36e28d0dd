"""Gradients of a PyTorch module, recorded under our paths and in our form."""

import numpy as np
import pytest
import torch
from torch import nn

from aimv2_np.recording import record
from aimv2_np.recording.adapters import record_torch
from tests.support.models import both_model, pixels, tokens, vision_model
from tests.support.oracle import their_model, unrounded

BOTH = {"pixel_values": pixels().astype(np.float64), "input_ids": tokens()}
MASK = {"attention_mask": np.ones((2, 6), np.int64)}


@pytest.mark.parametrize("name", ["both", "head", "no head"])
def test_those_of_transformers_are_ours(tmp_path, name):
    model = (both_model() if name == "both" else vision_model(use_head=name == "head")).to(dtype="float64")
    inputs = BOTH if name == "both" else {"pixel_values": BOTH["pixel_values"]}
    ours = record(model, inputs, tmp_path / "a.safetensors", gradients=True)
    with unrounded():
        theirs = record_torch(
            their_model(model), inputs | (MASK if name == "both" else {}), tmp_path / "b.safetensors", gradients=True
        )
    assert ours.metadata["loss"] == theirs.metadata["loss"]
    assert not set(ours.order) - set(theirs.order)
    left = {path.rpartition(".")[2] for path in set(theirs.order) - set(ours.order)}
    assert left <= {"act_fn", "1"}
    largest = max(np.abs(gradient).max() for gradient in ours.backward.activations.values())
    for path, gradient in ours.backward.activations.items():
        found = theirs.backward.activations[path]
        assert found.shape == gradient.shape
        np.testing.assert_allclose(found, gradient, rtol=0, atol=1e-10 * max(np.abs(gradient).max(), 1e-3 * largest))


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(4, 12), nn.Linear(4, 2)
        self.aside = nn.Linear(4, 3)

    def forward(self, x):
        self.aside(x.detach())
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.proj(q * k.detach() + v)


def test_fused_projections_in_thirds_and_zeros_for_what_takes_no_part(tmp_path):
    torch.manual_seed(0)
    module = Fused()
    x = np.random.default_rng(0).standard_normal((2, 3, 4), dtype=np.float32)
    found = record_torch(module, {"x": x}, tmp_path / "a.safetensors", gradients=True, loss=lambda y: (y * y).sum())
    assert found.metadata["loss"] == "given"
    gradients = found.backward.activations
    module.zero_grad()
    (module(torch.from_numpy(x)) ** 2).sum().backward()
    thirds = [gradients[f"{letter}_proj.weight"] for letter in "qkv"]
    np.testing.assert_allclose(np.concatenate(thirds), module.qkv.weight.grad, rtol=1e-5, atol=1e-6)
    assert not gradients["k_proj"].any()
    assert not gradients["k_proj.bias"].any()
    assert gradients["q_proj"].any()
    assert not gradients["aside.weight"].any()
    assert not gradients["aside"].any()


def test_nobodys_grad_changes(tmp_path):
    module, x = nn.Linear(3, 2), np.ones((1, 3), np.float32)
    module.weight.grad = torch.ones(2, 3)
    found = record_torch(module, {"input": x}, tmp_path / "a.safetensors", gradients=True)
    assert found.metadata["loss"] == "sum"
    assert (module.weight.grad == 1).all()
    assert module.bias.grad is None
    np.testing.assert_array_equal(found.backward.activations["weight"], np.ones((2, 3)))
    np.testing.assert_array_equal(found.backward.activations["output"], np.ones((1, 2)))


def test_without_gradients_nothing_is_differentiated(tmp_path):
    found = record_torch(nn.Linear(3, 2), {"input": np.ones((1, 3), np.float32)}, tmp_path / "a.safetensors")
    assert not found.backward.order
    assert "loss" not in found.metadata
    with pytest.raises(ValueError, match="loss is given without gradients"):
        record_torch(nn.Linear(3, 2), {"input": np.ones((1, 3), np.float32)}, tmp_path / "b.safetensors", loss=sum)
