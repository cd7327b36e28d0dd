"""The attentive probe and its training against the same head and optimizer in PyTorch, on the same tokens."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from aimv2_np.training import Schedule
from aimv2_np.training.optimizer import decays
from aimv2_np.training.probes.attentive import CLIP, EPS, Examples, first_probe, moments, train_together
from tests.support.oracle import unrounded
from tests.support.probes import CLASSES, tokens


class Head(nn.Module):
    """AIMv1's, as Apple describes it: batch normalisation of tokens, one query, keys and values of every token."""

    def __init__(self, probe, dtype):
        super().__init__()
        size, self.heads = probe.cls_token.shape[-1], probe.heads
        self.bn = nn.BatchNorm1d(size, eps=EPS, affine=False, dtype=dtype)
        self.k, self.v = (nn.Linear(size, size, bias=False, dtype=dtype) for _ in range(2))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size, dtype=dtype))
        self.linear = nn.Linear(size, len(CLASSES), bias=False, dtype=dtype)
        state = {path: torch.tensor(array, dtype=dtype) for path, array in probe.state_dict().items()}
        self.load_state_dict(state, strict=False)

    def forward(self, x):
        x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = (
            y.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for y in (self.cls_token.expand(len(x), -1, -1), self.k(x), self.v(x))
        )
        return self.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))


def begun(dtype="float64"):
    x, labels = tokens(30)
    own, rows = np.array([CLASSES.index(label) for label in labels]), np.arange(30)
    return first_probe(8, 3, 2, 0, *moments(x, rows, 8)).to(dtype=dtype), Examples(x, own, rows, 10, 0)


def test_logits():
    probe, examples = begun()
    head = Head(probe, torch.float64).eval()
    x = examples.tokens.astype(np.float64)
    with torch.no_grad(), unrounded():
        expected = head(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(probe(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rate", "decay"), [(5e-5, 0.05), (2e-3, 0.1)])
def test_twelve_steps(rate, decay):
    """In float32, as tokens are stored; batch normalisation by each batch, AdamW with decay of matrices alone."""
    probe, examples = begun("float32")
    head = Head(probe, torch.float32).train()
    groups = [
        {"params": [p for path, p in head.named_parameters() if decays(path) == decayed], "weight_decay": amount}
        for decayed, amount in ((True, decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999), eps=1e-8)
    schedule = Schedule(12, rate, 1)
    (found,) = train_together(probe, [schedule], [decay], examples)
    for step in range(12):
        (rows,) = examples.parts(step)
        raw, own = examples.tokens[rows], examples.own[rows]
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.zero_grad()
        with unrounded():
            F.cross_entropy(head(torch.from_numpy(raw)), torch.from_numpy(own)).backward()
        clip_grad_norm_(head.parameters(), CLIP)
        optimizer.step()
    expected = dict(head.named_parameters())
    before, after = probe.state_dict(), found.state_dict()
    for path, array in expected.items():
        theirs = array.detach().numpy()
        moved = np.abs(theirs - before[path]).max()
        assert np.abs(after[path] - theirs).max() <= 1e-3 * moved, path
