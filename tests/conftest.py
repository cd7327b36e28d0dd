"""Layers are imported under jaxtyping's hook: every call in every test is checked against its shape annotations.

Tests that take the fixture `cupy` run twice: on the stand-in of `tests/support/fake_cupy`, everywhere, and on a GPU,
where there is one (`-m gpu` selects these).
"""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from unittest.mock import patch

import pytest

NEEDED = ("beartype", "hypothesis", "jaxtyping", "ml_dtypes", "msgpack")  # of the extra `test`
if missing := [name for name in NEEDED if find_spec(name) is None]:
    # SystemExit: around any other exception pytest would show a traceback of the loading of this file.
    sys.exit(f"error: {', '.join(missing)} not installed; the tests need them: pip install -e '.[test]'")

from hypothesis import settings  # noqa: E402

from tests.support.shape_checks import checked  # noqa: E402

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=4000)
settings.load_profile("default")

with checked("aimv2_np.network"):
    import aimv2_np  # noqa: F401

from tests.support.gpu import emulated_cupy, real_cupy, why_no_gpu  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def freed_memory_is_given_back() -> Iterator[None]:
    """Tests that train leave the process as it is: what others measure is memory that comes and goes."""
    with patch("aimv2_np.training.step.keep_freed_memory"):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail where tests marked gpu cannot run")
    parser.addoption("--require-oracle", action="store_true", help="fail where tests/oracle cannot run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    needed = [item for item in marked if config.option.markexpr != "not gpu"]
    if not needed or (reason := why_no_gpu()) is None:
        return
    if config.getoption("--require-gpu"):
        raise pytest.UsageError(f"--require-gpu: {reason}")
    for item in needed:
        item.add_marker(pytest.mark.skip(reason=f"no GPU: {reason}"))


@pytest.fixture(scope="module", params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """CuPy, or its stand-in, which `import cupy` gives as well."""
    with emulated_cupy() if request.param == "emulated" else real_cupy() as module:
        assert sys.modules["cupy"] is module
        yield module
