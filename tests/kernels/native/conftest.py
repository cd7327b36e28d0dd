"""Every test once with each instruction set that this processor has."""

from collections.abc import Iterator

import pytest

from aimv2_np.kernels.native.library import available, using


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernels" in metafunc.fixturenames:
        metafunc.parametrize("kernels", available() or ["none"], indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the set that computes."""
    if request.param == "none":
        pytest.skip("no compiled kernels here; python -m aimv2_np.kernels.native.build makes them")
    with using(request.param):
        yield request.param
