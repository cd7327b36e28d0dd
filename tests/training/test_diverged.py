import numpy as np
import pytest

from aimv2_np.training.diverged import DivergedError, refuse_exploded, where_it_came_back
from aimv2_np.training.step import take_step
from tests.support.training import begun, recipe, task


def test_nan_is_told_by_the_module_where_it_began():
    """Here a weight of the second layer."""
    made = task()
    state, network = begun(made, poison="vision_model.encoder.layers.1.ffn.up_proj.weight")
    with pytest.raises(
        DivergedError, match=r"step 1: the loss is nan; the weight vision_model.encoder.layers.1.ffn.up_p"
    ):
        take_step(made, network, recipe(), state, [made.batch(range(4))])
    assert state.step == 0


def test_an_overflow_is_told_by_the_module_where_it_began():
    made = task()
    state, network = begun(made)
    state.weights["vision_model.encoder.layers.0.attention.v_proj.weight"][:] = 3e38
    with pytest.raises(DivergedError, match=r"it began in vision_model.encoder.layers.0.attention.*finite"):
        take_step(made, network, recipe(), state, [made.batch(range(4))])


def test_gradients_that_are_too_long_are_told():
    made = task()
    state, network = begun(made)

    class Steep:
        network, trained = made.network, made.trained

        def losses(self, network, batch):
            return {"loss": 1e-30 * (1e25 * (1e25 * network.decoder.connector.bias).sum()) ** 1}

    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="gradient"):
        take_step(Steep(), network, recipe(), state, [None])
    assert state.step == 0


@pytest.mark.parametrize(
    ("loss", "first", "wrong"), [(7.0, 6.0, False), (17.0, 2.3, True), (16.8, 2.3, False), (1.0, 0.01, False)]
)
def test_what_an_explosion_is(loss, first, wrong):
    """Three times the first loss and ten more: no batch is so unlucky."""
    numbers = [{"step": 9, "loss": loss}, {"step": 1, "loss": first}]
    if wrong:
        with pytest.raises(DivergedError, match=r"step 9: the loss is 17, at first it was 2.3"):
            refuse_exploded(*numbers)
    else:
        refuse_exploded(*numbers)


def test_of_gradients_the_last_that_is_none_was_the_first():
    """The way back goes from the last weight to the first."""
    gradients = {"a": np.array([np.nan]), "b": np.array([np.inf]), "c": np.ones(2)}
    assert "not the gradient of b and of 1 before it" in where_it_came_back(gradients)
    assert "too long for a number" in where_it_came_back({"c": np.ones(2)})
