"""NumPy's bodies alone, whatever has been compiled."""

from collections.abc import Iterator

import pytest

from aimv2_np.kernels.native.library import using


@pytest.fixture(autouse=True, scope="module")
def numpy_alone() -> Iterator[None]:
    with using(None):
        yield
