"""What is composed of other functions, against PyTorch's autograd in float64."""

import numpy as np
import pytest
import torch

from aimv2_np.gradients.variable import Variable, walk_back

BOTH = {
    "var": (lambda a: np.var(a, axis=1), lambda a: a.var(1, correction=0)),
    "std": (lambda a: a.std(ddof=1), lambda a: a.std()),
    "prod": (lambda a: a.prod(axis=-1), lambda a: a.prod(-1)),
    "min": (lambda a: a.min(axis=0), lambda a: a.amin(0)),
    "minimum": (lambda a: np.minimum(a, a[::-1] * 2), lambda a: torch.minimum(a, a.flip(0) * 2)),
    "cumsum": (lambda a: a.cumsum(axis=0), lambda a: a.cumsum(0)),
    "sort": (lambda a: np.sort(a, axis=0), lambda a: a.sort(0)[0]),
    "clip": (lambda a: a.clip(-0.3, 0.9), lambda a: a.clip(-0.3, 0.9)),
    "remainder": (lambda a: a % 0.7, lambda a: a % 0.7),
    "a number to the power": (lambda a: 2.0**a, lambda a: 2.0**a),
    "to the power": (lambda a: np.power(abs(a), a), lambda a: torch.pow(abs(a), a)),
    "others": (lambda a: np.sin(a) * np.cos(a) + np.log1p(a * a) + np.expm1(a) + np.log2(1 + a * a) + np.exp2(a),
               lambda a: a.sin() * a.cos() + (a * a).log1p() + a.expm1() + (1 + a * a).log2() + a.exp2()),
    "repeat": (lambda a: a.repeat(3, axis=0), lambda a: a.repeat_interleave(3, 0)),
    "trace": (lambda a: np.outer(a[0], a[1]).trace(), lambda a: torch.outer(a[0], a[1]).trace()),
}  # fmt: skip


@pytest.mark.parametrize("name", BOTH)
def test_those_of_autograd(name):
    rng = np.random.default_rng(0)
    array = rng.standard_normal((4, 5))
    ours, theirs = BOTH[name]
    tensor = torch.from_numpy(array).requires_grad_()
    expected = theirs(tensor)
    weights = rng.standard_normal(tuple(expected.shape))
    (expected * torch.from_numpy(np.asarray(weights))).sum().backward()
    leaf = Variable(array)
    output = ours(leaf)
    np.testing.assert_allclose(output.value, expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    (found,) = walk_back((output * weights).sum(), [leaf])
    np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)
