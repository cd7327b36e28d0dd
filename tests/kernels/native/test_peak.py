"""aimv2_np/kernels/native/peak.c: how many operations were done."""

import pytest

from aimv2_np.kernels.native.library import available


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_operations_are_counted(threads):
    """A task is whole turns of a multiplication and an addition in each lane of each sum, whoever does it."""
    for kernels in available().values():
        assert kernels.peak(1, threads) / (2 * 4096) in (16 * 24, 8 * 12, 4 * 24, 4 * 12)  # lanes times sums
        assert kernels.peak(7, threads) == 7 * kernels.peak(1, threads)
        assert kernels.peak(0, threads) == kernels.peak(-1, threads) == 0
