"""Every activation against `transformers.activations.ACT2FN`, and erf against PyTorch's, over a wide range."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.activations import ACT2CLS, ACT2FN

from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.erf import erf
from tests.support.oracle import counted
from tests.support.tally import compared

# Names that Transformers knows and we refuse: two have parameters of their own, which no AIMv2 checkpoint holds, and
# one scores the experts of another model.
OTHERS = {"prelu", "xielu", "sqrtsoftplus"}

# A table of values around everything where activations bend, and far beyond it.
RANGE = np.concatenate([np.linspace(-12, 12, 4801), np.geomspace(1e-30, 1e4, 400), -np.geomspace(1e-30, 1e4, 400)])


def test_every_fixed_activation_is_there() -> None:
    assert set(ACTIVATIONS) == set(ACT2CLS) - OTHERS


def bound(x: np.ndarray, expected: np.ndarray, arguments: float = 1.0) -> np.ndarray:
    """How far two roundings of an activation may lie apart: 8 ε of the larger of its value and its terms.

    The terms are x times something of order one that is a difference of such numbers (1 + erf, 1 + tanh), or that
    something itself; `expected` covers x².
    """
    eps = np.finfo(x.dtype).eps
    return 8 * eps * np.maximum(np.abs(expected), np.maximum(np.abs(x), arguments)) * np.ones_like(x)


def assert_equal(name: str, x: np.ndarray) -> None:
    ours = ACTIVATIONS[name](x)
    theirs = ACT2FN[name](torch.from_numpy(x)).numpy()
    assert ours.dtype == x.dtype
    # Terms are e^x near its argument's own rounding: |x| ε in the exponent, and x tanh(… x³ …) likewise, but both are
    # saturated where that would matter.
    difference = np.abs(ours.astype(np.float64) - theirs)
    worst = np.argmax(difference - bound(x, theirs))
    assert (difference <= bound(x, theirs)).all(), f"{name}({x[worst]!r}): {ours[worst]!r}, theirs {theirs[worst]!r}"
    compared("activations", float((difference / bound(x, theirs)).max()), 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activation(name: str, dtype: str) -> None:
    assert_equal(name, RANGE.astype(dtype))


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(ACTIVATIONS)),
    values=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20),
    dtype=st.sampled_from(["float32", "float64"]),
)
@counted
def test_activation_of_any_number(name: str, values: list[float], dtype: str) -> None:
    assert_equal(name, np.array(values, dtype=dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-7), ("float64", 5e-16)])
def test_erf(dtype: str, tolerance: float) -> None:
    """Tolerances: what the docstring of erf promises, plus one rounding of PyTorch's."""
    x = RANGE.astype(dtype)
    assert np.abs(erf(x) - torch.erf(torch.from_numpy(x)).numpy()).max() <= tolerance
