import numpy as np
import pytest

from aimv2_np import value_and_grad
from aimv2_np.training.step import take_step
from tests.support.training import begun, recipe, task


class InParts:
    """The same pictures for one batch as for several."""

    def __init__(self, made, parts):
        self.made, self.parts = made, parts
        self.network, self.trained, self.losses = made.network, made.trained, made.losses

    def batches(self):
        size = 4 // self.parts
        return [self.made.batch(range(i * size, (i + 1) * size)) for i in range(self.parts)]


def test_accumulated_gradients_are_the_mean_of_the_parts():
    made = task()
    batches = InParts(made, 2).batches()
    parts = [value_and_grad(lambda n, b=batch: made.losses(n, b)["loss"], made.network) for batch in batches]
    state, network = begun(made)
    told = take_step(made, network, recipe(clip=None, accumulate=2), state, batches)
    assert told["loss"] == pytest.approx(np.mean([float(value) for value, _ in parts]), rel=1e-6)
    for path, mean in state.first.items():
        expected = 0.05 * (parts[0][1][path] + parts[1][1][path])  # (1 - β₁) of the mean
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-6 * max(1e-3, np.abs(expected).max()), err_msg=path)


def test_the_weights_are_changed_where_they_are():
    made = task()
    state, network = begun(made)
    told = take_step(made, network, recipe(), state, [made.batch(range(4))])
    assert told.keys() == {"step", "loss", "text", "pixels", "rate", "norm"}
    assert state.step == told["step"] == 1
    for path, array in network.state_dict().items():
        assert array is state.weights[path]
    changed = {
        path for path, array in state.weights.items() if not np.array_equal(array, made.network.state_dict()[path])
    }
    assert len(changed) > 0.9 * len(state.weights)


def test_the_mean_follows_the_weights():
    made = task()
    state, network = begun(made, averaged=True)
    before = {path: array.copy() for path, array in state.average.items()}
    take_step(made, network, recipe(average=0.99), state, [made.batch(range(4))])
    path = "decoder.connector.weight"
    expected = before[path] + (1 - 2 / 11) * (
        state.weights[path] - before[path]
    )  # in the first steps it forgets faster
    np.testing.assert_allclose(state.average[path], expected, rtol=1e-6)
