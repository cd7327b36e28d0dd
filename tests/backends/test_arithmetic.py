import warnings
from functools import partial
from threading import Event, Thread

import numpy as np
import pytest

from aimv2_np.backends.arithmetic import _library, own_arithmetic
from aimv2_np.backends.operation import operation
from aimv2_np.backends.parallel import run
from aimv2_np.network.linear import linear

SMALL = {"float32": 1e-40, "float64": 1e-310}  # denormal

needs_switch = pytest.mark.skipif(_library() is None, reason="no such switch here")


@operation
def times(x, y):
    return x * y


def denormals_count(dtype="float32"):
    return bool((np.full(8, SMALL[dtype], dtype) * 1).any())


@needs_switch
@pytest.mark.parametrize("dtype", SMALL)
@pytest.mark.parametrize("which", ["activations", "weights"])
@pytest.mark.parametrize("rows", [3, 900])  # on one core, and on all
def test_denormals_are_zero_in_products(dtype, which, rows):
    """As zero operands, and as results: whatever makes a processor slow is not there."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((rows, 256)).astype(dtype), rng.standard_normal((128, 256)).astype(dtype)
    small = x if which == "activations" else w
    small *= SMALL[dtype]
    assert 0 < abs(small).max() < np.finfo(dtype).tiny
    np.testing.assert_array_equal(linear(x, w), 0)
    tiny = np.full(4, np.finfo(dtype).tiny)
    np.testing.assert_array_equal(times(tiny, tiny.dtype.type(0.25)), 0)
    assert denormals_count(dtype)


@needs_switch
def test_every_worker_and_only_inside():
    seen = []

    def nested():
        with own_arithmetic(), own_arithmetic():
            seen.append(denormals_count())
        seen.append(denormals_count())

    entered = Event()
    elsewhere = Thread(target=lambda: entered.wait() and seen.append(denormals_count()))  # runs already
    elsewhere.start()
    with own_arithmetic():
        entered.set()
        elsewhere.join()
        assert seen.pop()
        run([lambda: seen.append(denormals_count())] * 8, 4)
        assert seen == [False] * 8
    seen.clear()
    nested()
    assert seen == [False, True]
    with pytest.raises(ZeroDivisionError), own_arithmetic():
        1 / 0  # noqa: B018
    assert denormals_count()


def test_numpys_complaints_are_off_inside_and_as_before_outside():
    large = np.full(8, 1e38, np.float32)

    def complain():
        return times(large, large), times(large * 0, np.float32(np.inf)), np.exp(-large[:1] * 0 - 90)

    with np.errstate(all="raise"), warnings.catch_warnings(action="error"):
        run([partial(times, large, large)] * 4, 4)
        with own_arithmetic():
            complain()
        with pytest.raises(FloatingPointError):
            large * large
