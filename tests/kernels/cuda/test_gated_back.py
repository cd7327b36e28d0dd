"""The derivative of the gate on the device against the general one in float64, for every activation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.gradients.swiglu import backward
from aimv2_np.network.activations import ACTIVATIONS
from tests.kernels.cuda.arrays import LAYOUTS, assert_within, contiguous, dtypes, exact, normal


def check(cupy, dtype, shape, hidden_act, layout=contiguous, seed=0):
    """All is computed in float32, a few roundings for each number."""
    gate, up = normal(seed, dtype, shape, shape, scale=3.0)
    g = normal(seed + 1, "float32", shape)[0]
    found = backward(*(layout(cupy, x) for x in (gate, up, g)), hidden_act)
    for array, expected in zip(found, backward.textbook(*map(exact, (gate, up, g)), hidden_act), strict=True):
        assert array.dtype == np.float32
        assert_within(array, expected, 1e-5 * max(1.0, np.abs(expected).max(initial=0)))


@settings(max_examples=30)
@given(shape=st.lists(st.integers(0, 4), max_size=2), size=st.integers(1, 300), dtype=dtypes, layout=LAYOUTS,
       seed=st.integers(0, 9))  # fmt: skip
def test_any_shape_and_layout(cupy, shape, size, dtype, layout, seed):
    check(cupy, dtype, (*shape, size), "silu", layout, seed)


@pytest.mark.parametrize("hidden_act", sorted({function: name for name, function in ACTIVATIONS.items()}.values()))
def test_every_activation(cupy, hidden_act):
    check(cupy, "float32", (3, 64), hidden_act)
