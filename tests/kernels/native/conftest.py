"""What tests of the kernels in C share."""

import pytest

from tests.support.amx import compiler_or_skip, link_modelled


@pytest.fixture(scope="session")
def modelled(tmp_path_factory):
    """The library for a processor with AMX that is modelled."""
    return link_modelled(compiler_or_skip(), tmp_path_factory.mktemp("amx"))
