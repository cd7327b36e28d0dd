"""The gradient by every activation and every weight against PyTorch's autograd of Transformers' models, in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from aimv2_np import trace
from tests.oracle.gradients.test_models import TOLERANCE
from tests.support.comparison import assert_below
from tests.support.models import both_model, pixels, text_model, tokens, vision_model
from tests.support.oracle import their_inputs, their_model, unrounded

GRADIENT = "gradient:"
# Positions and what is split for heads are no outputs of modules there; nobody calls a table of positions of ours.
OURS_ALONE = ("position_embedding", ".q", ".k", ".v")
PARTS = {
    "both": lambda: both_model(),
    "native": lambda: both_model(vision_config=vision_model(use_head=True, is_native=True).config),
    "biases": lambda: both_model(
        vision_config=vision_model(use_head=True, qkv_bias=True, mlp_bias=True).config,
        text_config=text_model(qkv_bias=True, mlp_bias=True, hidden_act="gelu").config,
    ),
    "head": lambda: vision_model(use_head=True),
    "no head": lambda: vision_model(use_head=False),
    "text": lambda: text_model(),
}


def retained(theirs: torch.nn.Module, inputs: dict[str, np.ndarray], loss: Any) -> dict[str, np.ndarray]:
    """Path → .grad of every module's output, in the form that it has here, and of every input and parameter."""
    outputs: dict[str, torch.Tensor] = {}

    def keep(path: str, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            output.retain_grad()
            outputs[path] = output
        elif hasattr(output, "items"):
            named = {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}
            for name, value in named.items():
                own = path if path.endswith("encoder") else f"{path}.{name}".lstrip(".")
                keep(own, value)
        else:
            keep(path, output[0])

    for path, module in theirs.named_modules():
        module.register_forward_hook(lambda _m, _args, output, path=path: keep(path, output))
    given = their_inputs(inputs, torch.float64)
    leaves = {name: tensor.requires_grad_() for name, tensor in given.items() if tensor.is_floating_point()}
    loss(theirs(**given)).backward()
    found = {path: _ours(path, tensor.grad) for path, tensor in outputs.items() if tensor.grad is not None}
    by_leaves = (*leaves.items(), *theirs.named_parameters())
    return found | {path: leaf.grad.numpy() for path, leaf in by_leaves if leaf.grad is not None}


def _ours(path: str, gradient: torch.Tensor) -> np.ndarray:
    if path.endswith("patch_embed"):
        gradient = gradient.flatten(2).transpose(1, 2)
    elif path.endswith("position_embedding"):
        gradient = gradient[0]
    return gradient.numpy()


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("name", PARTS)
def test_every_path(name: str, inner: bool) -> None:
    model = PARTS[name]().to(dtype="float64")
    inputs = {}
    if name != "text":
        inputs["pixel_values"] = pixels(3).astype(np.float64)
    if name not in ("head", "no head"):
        inputs["input_ids"] = tokens(3)
    both = len(inputs) == 2
    with trace(model, gradients=True, inner=inner) as activations:
        model(**inputs)
    ours = {path.removeprefix(GRADIENT): array for path, array in activations.items() if path.startswith(GRADIENT)}
    output = "last_hidden_state" if name == "no head" else "pooler_output"
    theirs = their_model(model)
    with unrounded():
        expected = retained(theirs, inputs, contrastive if both else lambda found: found[output].sum())
    left = {path for path in ours if path not in expected and ours[path].any() and not path.endswith(OURS_ALONE)}
    left = {path for path in left if path.rpartition(".")[2] not in ("scores", "probs")}
    assert not left
    expected = {
        path: gradient for path, gradient in expected.items() if not path.endswith("act_fn")
    }  # no module of ours
    assert not sorted(expected.keys() - ours.keys())
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    errors = {
        path: float(np.abs(ours[path] - gradient).max() / max(np.abs(gradient).max(), 1e-3 * largest))
        for path, gradient in expected.items()
    }
    assert_below(errors, TOLERANCE)


def contrastive(output: Any) -> torch.Tensor:
    logits = output.logits_per_text
    diagonal = torch.arange(len(logits))
    return (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2
