"""The gradient by every parameter against PyTorch's autograd of Transformers' models, in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from aimv2_np import gradient_of, value_and_grad
from tests.support.comparison import assert_below
from tests.support.models import both_model, pixels, text_model, tokens, vision_model
from tests.support.oracle import counted, their_inputs, their_model, unrounded

TOLERANCE = 1e-10  # the issue's


def assert_same_gradients(found: dict[str, np.ndarray], theirs: torch.nn.Module) -> None:
    """Every parameter's, relative to the largest number of its gradient, at least a thousandth of the largest of all.

    A bias of `k_proj` has the gradient zero: it moves all scores of a query alike. What is found is rounding.
    """
    expected = {path: parameter.grad for path, parameter in theirs.named_parameters()}
    assert found.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values() if gradient is not None)
    errors = {}
    for path, gradient in expected.items():
        if gradient is None:
            assert not found[path].any(), path
            continue
        reference = gradient.numpy()
        errors[path] = float(np.abs(found[path] - reference).max() / max(np.abs(reference).max(), 1e-3 * largest))
    assert_below(errors, TOLERANCE)


def their_loss(theirs: Any, inputs: dict[str, np.ndarray]) -> torch.Tensor:
    logits = theirs(**their_inputs(inputs, torch.float64)).logits_per_text
    diagonal = torch.arange(len(logits))
    return (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2


@settings(max_examples=10)
@given(
    batch=st.integers(2, 4), seed=st.integers(0, 99), native=st.booleans(), biases=st.booleans(), padded=st.booleans(),
    act=st.sampled_from(["silu", "gelu", "quick_gelu"]),
)  # fmt: skip
@counted
def test_the_loss_of_both_towers(batch: int, seed: int, native: bool, biases: bool, padded: bool, act: str) -> None:
    trunk = {"qkv_bias": biases, "mlp_bias": biases, "hidden_act": act}
    vision = vision_model(use_head=True, is_native=native, **trunk).config
    model = both_model(seed, vision_config=vision, text_config=text_model(**trunk).config).to(dtype="float64")
    inputs = {"pixel_values": pixels(batch, seed=seed).astype(np.float64), "input_ids": tokens(batch, seed=seed)}
    if padded:
        inputs["attention_mask"] = np.ones_like(inputs["input_ids"])
        inputs["input_ids"][0, 3] = model.config.text_config.eos_token_id
        inputs["attention_mask"][0, 4:] = 0
    value, gradients = value_and_grad(lambda m: m(**inputs, return_loss=True).loss, model)
    theirs = their_model(model)
    with unrounded():
        loss = their_loss(theirs, inputs)
        loss.backward()
    assert float(value) == pytest.approx(float(loss.detach()), rel=1e-12)
    assert_same_gradients(gradients, theirs)


@pytest.mark.parametrize("changes", [{"use_head": True}, {"use_head": False}, {"use_head": True, "is_native": True}])
def test_the_vision_tower(changes: dict[str, bool]) -> None:
    """By its weights and by the pixels."""
    model, x = vision_model(**changes).to(dtype="float64"), pixels().astype(np.float64)
    name = "pooler_output" if changes["use_head"] else "last_hidden_state"
    ways = np.random.default_rng(0).standard_normal(model(x)[name].shape)
    _, gradients = value_and_grad(lambda m: (m(x)[name] * ways).sum(), model)
    theirs, tensor = their_model(model), torch.tensor(x, requires_grad=True)
    with unrounded():
        (theirs(tensor)[name] * torch.from_numpy(ways)).sum().backward()
    assert_same_gradients(gradients, theirs)
    found, expected = gradient_of(lambda p: (model(p)[name] * ways).sum(), x), tensor.grad.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("name", ["pooler_output", "last_hidden_state"])
def test_the_text_tower(name: str) -> None:
    model, ids = text_model().to(dtype="float64"), tokens()
    ways = np.random.default_rng(0).standard_normal(model(ids)[name].shape)
    _, gradients = value_and_grad(lambda m: (m(ids)[name] * ways).sum(), model)
    theirs = their_model(model)
    with unrounded():
        (theirs(**their_inputs({"input_ids": ids}, torch.float64))[name] * torch.from_numpy(ways)).sum().backward()
    assert_same_gradients(gradients, theirs)
