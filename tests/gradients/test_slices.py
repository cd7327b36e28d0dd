import numpy as np
import pytest

from aimv2_np.gradients import slices
from aimv2_np.gradients.slices import in_slices
from aimv2_np.network.rms_norm import rms_norm
from tests.support.gradients import gradients


@pytest.mark.parametrize("shape", [(1, 5), (7, 3), (4, 2, 5), (3,), (0, 4)])
@pytest.mark.parametrize("numbers", [1, 10, 1000])
def test_all_is_covered_once_and_in_order(monkeypatch, shape, numbers):
    monkeypatch.setattr(slices, "NUMBERS", numbers)
    like = np.arange(np.prod(shape)).reshape(shape)
    parts = in_slices(like, lambda rows: like[rows])
    np.testing.assert_array_equal(np.concatenate(parts) if parts else like, like)


def test_the_number_of_cores_changes_no_bit(monkeypatch):
    rng = np.random.default_rng(0)
    x, gain = rng.standard_normal((9, 5, 8)).astype(np.float32), rng.standard_normal(8).astype(np.float32)
    monkeypatch.setattr(slices, "NUMBERS", 100)
    found = []
    for number in (1, 2, 5):
        monkeypatch.setattr(slices, "cores", lambda number=number: number)
        found.append(gradients(lambda x, gain: rms_norm(x, gain, 1e-5), x, gain)[0])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_an_error_comes_out():
    def fail(rows):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_slices(np.zeros((4, 1 << 17)), fail)
