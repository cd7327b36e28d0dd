"""Engines by name; what they do on real clusters is in tests/clusters."""

import sys

import pytest

from aimv2_np.tasks import embed
from aimv2_np.tasks.embedding.engines import check_engine, opened


def test_without_an_engine_there_is_none():
    with opened(None, None) as engine:
        assert engine is None


@pytest.mark.parametrize(("engine", "address", "message"), [
    ("spark", None, "engine is 'spark'; expected one of ray, dask"),
    ("dask", " ", "address is empty; expected one such as"),
    (None, "10.0.0.1:6379", r"address is '10.0.0.1:6379' without an engine; pass --engine \(engine=…\) too"),
])  # fmt: skip
def test_settings_that_make_no_sense(engine, address, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        embed(["nowhere"], tmp_path / "f.npz", engine=engine, address=address)


@pytest.mark.parametrize(("engine", "library"), [("ray", "ray"), ("dask", "distributed")])
def test_a_library_that_is_missing(engine, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"--engine {engine} needs a library: pip install 'aimv2-np\[{engine}\]'"):
        check_engine(engine, None)
