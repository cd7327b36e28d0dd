"""Each linear map, norm, patch embedding and table alone, fed with what Transformers' module was fed in a run.

In float32, element by element, with the bounds that float arithmetic proves rather than with measured ones.
"""

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from torch import nn

from aimv2_np import textbook
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.rms_norm import RMSNorm
from tests.support.oracle import counted, hooked, their_model
from tests.support.strategies import Case, two_tower_cases
from tests.support.tally import compared

EPS = np.finfo(np.float32).eps


def bound(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor | float:
    """The most that two correct float32 evaluations of `module` at `x` may differ, element by element.

    A sum of n products in any order is within n ε/2 of Σ|x||w| (Higham, "Accuracy and Stability of Numerical
    Algorithms", section 3.1); both sides err, so n ε, plus ε for the bias. RMSNorm sums n squares, all positive, takes
    half of that error through the square root, and adds five roundings on either side.
    """
    if isinstance(module, nn.Embedding):
        return 0.0
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return (x.shape[-1] / 2 + 5) * EPS * y.abs()
    weight, bias = module.weight.abs(), None if module.bias is None else module.bias.abs()
    terms = (
        nn.functional.linear(x.abs(), weight, bias)
        if isinstance(module, nn.Linear)
        else nn.functional.conv2d(x.abs(), weight, bias, stride=module.stride).flatten(2).transpose(1, 2)
    )
    return (weight[0].numel() + 2) * EPS * terms


def assert_module_equal(module: Any, theirs: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    if isinstance(theirs, nn.Conv2d):
        y = y.flatten(2).transpose(1, 2)
    error, limit = np.abs(module(x.numpy()) - y.numpy()), np.asarray(bound(theirs, x, y))
    assert (error <= limit).all()
    compared("module alone", float((error / np.where(limit > 0, limit, 1)).max(initial=0)), 1.0)


@settings(max_examples=40)
@given(case=two_tower_cases())
@counted
def test_every_module_alone(case: Case) -> None:
    model = case.model()
    theirs = their_model(model)
    ours = dict(model.named_modules())
    with torch.no_grad():
        for path, (args, output) in hooked(theirs, case.inputs).items():
            if isinstance(ours.get(path), Linear | RMSNorm | PatchEmbed | Embedding) and args:
                if path.endswith("position_embedding"):
                    args, output = (args[0][0],), output[0]
                assert_module_equal(ours[path], theirs.get_submodule(path), args[0], output)
                with textbook():
                    assert_module_equal(ours[path], theirs.get_submodule(path), args[0], output)
