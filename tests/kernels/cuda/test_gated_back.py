"""The derivative of the gate on the device against the general one in float64, and every activation's slope."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.gradients.activations import DERIVATIVES
from aimv2_np.gradients.swiglu import backward
from aimv2_np.kernels.cuda.gated import ACTIVATIONS as NAMES
from aimv2_np.kernels.cuda.launch import OPTIONS, source
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


@pytest.mark.parametrize("hidden_act", ["silu", "gelu"])
def test_several_rows(cupy, hidden_act):
    check(cupy, "float32", (3, 64), hidden_act)


def test_the_slope_of_every_activation(cupy):
    """All in one kernel of the test's own, as each takes seconds to compile; kinks are among them."""
    names = sorted(set(NAMES.values()))
    lines = "\n".join(f"    out[{row} * count + i] = {name}::slope(x[i]);" for row, name in enumerate(names))
    code = f"""{source("gated_back")}
template <int UNUSED>
__global__ void slopes(float* out, const float* x, int count) {{
    int i = threadIdx.x;
    if (i >= count) return;
{lines}
}}"""
    x = np.array([-30, -10.5, -3, -2.9, -1, -1e-3, 0, 1e-3, 0.5, 1, 2.9, 3, 5.9, 6, 10.5, 30], np.float32)
    out = cupy.empty((len(names), len(x)), np.float32)
    module = cupy.RawModule(code=code, options=OPTIONS, name_expressions=("slopes<0>",))
    module.get_function("slopes<0>")((1,), (32,), (out, cupy.asarray(x), np.int32(len(x))))
    for name, function in ACTIVATIONS.items():
        found, expected = out[names.index(NAMES[name])].get(), DERIVATIVES[function](x.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)
