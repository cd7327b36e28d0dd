import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.backends.operation import looking_inside
from aimv2_np.gradients import Variable
from aimv2_np.network.linear import linear
from tests.support.gradients import check

SIZES = st.integers(1, 6)


@given(st.lists(st.integers(1, 3), max_size=3), SIZES, SIZES, st.booleans())
def test_it_is_the_slope(batch, inputs, outputs, bias):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((*batch, 2, inputs)), rng.standard_normal((outputs, inputs))
    arrays = (x, weight, rng.standard_normal(outputs)) if bias else (x, weight)
    check(linear, *arrays)


@pytest.mark.parametrize("names", [{"weight"}, {"x"}, {"bias"}])
def test_some_arguments_alone_and_by_name(names):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((2, 3)), "weight": rng.standard_normal((4, 3)), "bias": rng.standard_normal(4)}

    def of(*some):
        return linear(**arrays | dict(zip(names, some, strict=True)))

    given_ = {name: Variable(arrays[name]) for name in names}
    x = given_.get("x", arrays["x"])
    with looking_inside():
        assert isinstance(linear(x, **{name: given_.get(name, arrays[name]) for name in ("weight", "bias")}), Variable)
    check(
        lambda *some: linear(
            dict(zip(names, some, strict=True)).get("x", arrays["x"]),
            **{name: dict(zip(names, some, strict=True)).get(name, arrays[name]) for name in ("weight", "bias")},
        ),
        *(arrays[name] for name in names),
    )
