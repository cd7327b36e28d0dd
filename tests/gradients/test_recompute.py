import tracemalloc

import numpy as np
import pytest

from aimv2_np import value_and_grad
from tests.support.models import both_model, pixels, pretraining_model, tokens, vision_model

INPUTS = {"pixel_values": pixels(), "input_ids": tokens()}


def loss(model):
    return model(**INPUTS, return_loss=True).loss


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_gradients_are_the_same(layers):
    """Layers are as many as two; a number above that keeps what goes into the trunk alone."""
    model = both_model()
    value, kept = value_and_grad(loss, model)
    again, found = value_and_grad(loss, model, recompute=layers)
    assert value == again
    for path, gradient in kept.items():
        np.testing.assert_array_equal(found[path], gradient, err_msg=path)


def test_of_some_weights():
    model = pretraining_model()
    ids = np.arange(10).reshape(2, 5)

    def of_batch(m):
        return m(pixels(), ids, np.ones((2, 5), bool), np.array([2, 7])).loss

    _, every = value_and_grad(of_batch, model)
    _, some = value_and_grad(of_batch, model, weights=lambda path: path.startswith("decoder.layers.1"), recompute=1)
    assert sorted(some) == sorted(path for path in every if path.startswith("decoder.layers.1"))
    for path, gradient in some.items():
        np.testing.assert_allclose(gradient, every[path], rtol=0, atol=1e-6 * np.abs(every[path]).max())


def test_less_is_held_at_a_time():
    """Of eight layers one, and what goes into the others."""
    model, x = vision_model(num_hidden_layers=8, use_head=False), pixels(16)

    def peak(**options):
        tracemalloc.start()
        try:
            value_and_grad(lambda m: (m(x).last_hidden_state ** 2).mean(), model, **options)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(recompute=1) < 0.5 * peak()


@pytest.mark.parametrize(("layers", "error"), [(0, ValueError), (-2, ValueError), (1.0, TypeError), (True, TypeError)])
def test_what_is_no_number_of_layers_is_refused(layers, error):
    with pytest.raises(error, match=r"recompute is .*; expected"):
        value_and_grad(loss, both_model(), recompute=layers)
