"""Parquet without its library: an error that says what to install, before any picture is looked at.

tests/parquet has the tests with it.
"""

import sys

import pytest

from aimv2_np.tasks import embed
from aimv2_np.tasks.embedding.parquet import pyarrow


@pytest.fixture
def without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.mark.usefixtures("without_pyarrow")
def test_the_error_says_what_to_install():
    with pytest.raises(ImportError, match=r"pip install 'aimv2-np\[parquet\]'"):
        pyarrow()


@pytest.mark.usefixtures("without_pyarrow")
def test_a_run_says_so_before_it_begins(tmp_path, photos, two_towers):
    with pytest.raises(ImportError, match="pyarrow"):
        embed([photos], tmp_path / "features.parquet", model=two_towers)
    assert not list(tmp_path.iterdir())
