"""A task of one's own goes through the same loop."""

from typing import Any

import numpy as np
import pytest

from aimv2_np.network.linear import Linear
from aimv2_np.training import train
from tests.support.training import recipe


class Line:
    """Find the weight of y = 3 x; what `losses` returns is `told(loss)`."""

    facts: dict[str, Any] = {"line": 3}  # noqa: RUF012 (never changed)

    def __init__(self, told: Any = lambda loss: {"loss": loss}) -> None:
        self.network = Linear(np.zeros((1, 1), np.float32), None)
        self.told = told

    def trained(self, path: str) -> bool:
        return True

    def batch(self, places: range) -> np.ndarray:
        return np.random.default_rng(places.start).standard_normal((len(places), 1), np.float32)

    def losses(self, network: Linear, batch: np.ndarray) -> Any:
        return self.told(((network(batch) - 3 * batch) ** 2).mean())


def test_it_learns(tmp_path):
    found = train(Line(), recipe(400), tmp_path)
    assert float(found.weight[0, 0]) > 1.5


@pytest.mark.parametrize(("told", "said"), [(lambda loss: loss, "Variable"), (lambda loss: {"mse": loss}, "mse")])
def test_losses_without_a_loss_are_told(tmp_path, told, said):
    with pytest.raises(
        TypeError, match=rf"the task's losses are .*{said}.*; expected numbers by name, one of them 'loss'"
    ):
        train(Line(told), recipe(1), tmp_path)
