"""The contrastive loss against PyTorch's cross-entropy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from aimv2_np.network.contrastive import contrastive_loss
from tests.support.oracle import counted


@settings(max_examples=40)
@given(size=st.integers(1, 12), scale=st.sampled_from([1e-3, 1.0, 100.0, 1e4]), seed=st.integers(0, 999))
@counted
def test_loss(size: int, scale: float, seed: int) -> None:
    logits = scale * np.random.default_rng(seed).standard_normal((size, size))
    theirs, diagonal = torch.from_numpy(logits), torch.arange(size)
    expected = 0.5 * (cross_entropy(theirs, diagonal) + cross_entropy(theirs.T, diagonal))
    # A difference of numbers of the order of `scale`, in float64.
    assert float(contrastive_loss(logits)) == pytest.approx(float(expected), rel=1e-14, abs=1e-14 * scale)
