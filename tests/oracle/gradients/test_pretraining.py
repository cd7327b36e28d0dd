"""Pre-training's losses, and the gradient by every parameter, against a reference out of Transformers' layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import value_and_grad
from tests.oracle.gradients.test_models import assert_same_gradients
from tests.support.models import pixels, pretraining_model, text_config, vision_config
from tests.support.oracle import counted, unrounded
from tests.support.reference_pretraining import reference


@settings(max_examples=12)
@given(
    batch=st.integers(1, 3), seed=st.integers(0, 99), prefixed=st.booleans(), native=st.booleans(),
    pixel_weight=st.sampled_from([0.0, 0.4, 1.0]), recompute=st.sampled_from([None, 1, 2]),
)  # fmt: skip
@counted
def test_losses_and_gradients(
    batch: int, seed: int, prefixed: bool, native: bool, pixel_weight: float, recompute: int | None
) -> None:
    rng = np.random.default_rng(seed)
    changes = {"is_native": native}
    model = pretraining_model(seed, pixel_weight=pixel_weight, **changes).to(dtype="float64")
    x = pixels(batch, seed=seed).astype(np.float64)
    ids = rng.integers(0, 40, (batch, 7))
    keys = np.arange(7) < rng.integers(1, 8, (batch, 1))
    prefix = rng.integers(1, 9, batch) if prefixed else None
    value, gradients = value_and_grad(lambda m: m(x, ids, keys, prefix).loss, model, recompute=recompute)
    found = model(x, ids, keys, prefix)

    theirs = reference(model, vision_config(**changes), text_config())
    tensors = [None if it is None else torch.from_numpy(it) for it in (x, ids, keys, prefix)]
    with unrounded():
        text, patches = theirs(*tensors)
        loss = text + pixel_weight * patches
        loss.backward()
    for ours, expected in ((found.text, text), (found.pixels, patches), (found.loss, loss), (value, loss)):
        assert float(ours) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert_same_gradients(gradients, theirs)
