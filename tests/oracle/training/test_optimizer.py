"""Ten steps of training, weight by weight, against PyTorch's AdamW, clipping and autograd, in float64."""

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from aimv2_np.training.optimizer import AdamW, decays
from aimv2_np.training.recipe import Recipe
from aimv2_np.training.schedule import Schedule
from aimv2_np.training.state import State
from aimv2_np.training.step import take_step
from tests.support.models import pixels, pretraining_model, text_config, vision_config
from tests.support.oracle import unrounded
from tests.support.reference_pretraining import reference

TOLERANCE = 1e-9  # the issue's
STEPS, RATE = 10, 3e-3


class Fixed:
    """Pre-training on batches that are drawn once."""

    def __init__(self) -> None:
        self.facts: dict[str, object] = {}
        self.network = pretraining_model().to(dtype="float64")

    def trained(self, path: str) -> bool:
        return True

    def batch(self, places: range) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(places.start)
        keys = np.arange(7) < rng.integers(1, 8, (len(places), 1))
        x = pixels(len(places), seed=places.start).astype(np.float64)
        return x, rng.integers(0, 40, (len(places), 7)), keys, rng.integers(1, 9, len(places))

    def losses(self, network, batch):
        return network(*batch)._asdict()


@pytest.mark.parametrize("fully_decoupled", [False, True])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_ten_steps(fully_decoupled: bool, clip: float | None) -> None:
    """The fully decoupled decay is PyTorch's with λ / peak."""
    task = Fixed()
    optimizer = AdamW(weight_decay=0.1 * (RATE if fully_decoupled else 1), fully_decoupled=fully_decoupled)
    schedule = Schedule(STEPS, RATE, 3)
    recipe = Recipe(schedule, optimizer, batch_size=3, clip=clip)
    state = State.new(task.network.state_dict(), list(task.network.state_dict()), averaged=False)
    network = task.network.map(lambda path, _: state.weights[path])

    theirs = reference(task.network, vision_config(), text_config())
    groups = [
        {"params": [p for path, p in theirs.named_parameters() if decays(path) == decayed], "weight_decay": decay}
        for decayed, decay in ((True, 0.1), (False, 0.0))
    ]
    torch_adamw = torch.optim.AdamW(groups, lr=RATE, betas=optimizer.betas, eps=optimizer.eps)
    for step in range(STEPS):
        batch = task.batch(range(3 * step, 3 * step + 3))
        told = take_step(task, network, recipe, state, [batch])
        for group in torch_adamw.param_groups:
            group["lr"] = schedule.rate(step)
        torch_adamw.zero_grad()
        with unrounded():
            text, patches = theirs(*map(torch.from_numpy, batch))
            loss = text + 0.4 * patches
            loss.backward()
        norm = clip_grad_norm_(theirs.parameters(), float("inf") if clip is None else clip)
        torch_adamw.step()
        assert told["loss"] == pytest.approx(float(loss.detach()), rel=1e-9)
        assert told["norm"] == pytest.approx(float(norm), rel=1e-9)
    begun, expected = task.network.state_dict(), dict(theirs.named_parameters())
    assert state.weights.keys() == expected.keys()
    for path, found in state.weights.items():
        wanted = expected[path].detach().numpy()
        moved = np.abs(wanted - begun[path]).max()
        if path.endswith("k_proj.bias"):
            continue
        assert moved > 0, path
        assert np.abs(found - wanted).max() <= TOLERANCE * max(1.0, np.abs(wanted).max()), path
