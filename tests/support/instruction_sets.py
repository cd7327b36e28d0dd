"""Every test of a file once with each instruction set that this processor has."""

import pytest

from aimv2_np.kernels.native import library


@pytest.fixture(scope="module", autouse=True, params=list(library.available()) or ["none"])
def kernels(request):
    """The set that the kernels in C compute with; imported by the test files that are to run with each."""
    if request.param == "none":
        pytest.skip("no compiled kernels here; python -m aimv2_np.kernels.native.build makes them")
    with library.using(request.param):
        yield request.param
