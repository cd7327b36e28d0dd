"""What tests of the kernels in C share."""

import pytest

from aimv2_np.kernels.native.build import BuildError, find_compiler
from tests.support.amx import link_modelled, why_not


@pytest.fixture(scope="session")
def modelled(tmp_path_factory):
    """The library for a processor with AMX that is modelled."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    if reason := why_not(compiler):
        pytest.skip(reason)
    return link_modelled(compiler, tmp_path_factory.mktemp("amx"))
