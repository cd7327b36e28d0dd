import numpy as np
import pytest

from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.swiglu import gated
from tests.support.gradients import check


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_the_slope(name):
    rng = np.random.default_rng(0)
    check(lambda gate, up: gated(gate, up, name), rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4)))
