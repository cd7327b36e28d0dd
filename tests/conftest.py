"""Layers are imported under jaxtyping's hook: every call in every test is checked against its shape annotations."""

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=4000)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail, and do not skip, tests of a GPU that is missing")


with install_import_hook(["aimv2_np.layers"], "beartype.beartype"):
    import aimv2_np  # noqa: F401
