"""aimv2_np/kernels/native/library.py: which kernels compute, and why."""

import os
import subprocess
import sys

import pytest

from aimv2_np.kernels.native.library import VARIABLE, available, describe_native, kernels, path, using


def said(variable, code="from aimv2_np.kernels.native.library import describe_native; print(describe_native())"):
    """What a fresh process prints that has the variable set."""
    environment = os.environ | {VARIABLE: variable}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_the_fastest_computes_unless_told_otherwise():
    with using(None):
        assert kernels() is None
        assert "by NumPy" in describe_native()["reason"]
    for name in available():
        with using(name):
            assert kernels() is available()[name]
            assert describe_native()["used"] == name
            assert describe_native()["reason"].startswith(f"in C for {name}")
    assert not available() or list(available())[-1] in ("plain", "neon")


def test_switched_off():
    result = said("0")
    assert "'used': None" in result.stdout
    assert ("AIMV2_NP_NATIVE is 0" if available() else "by NumPy") in result.stdout


def test_one_set_by_name():
    assert "'used': 'plain'" in said("plain").stdout or "plain" not in available()


def test_a_name_that_is_none():
    result = said("sse9")
    assert result.returncode == 1
    assert "AIMV2_NP_NATIVE is 'sse9'; expected 0, 1, require or one of what is here: " in result.stderr


@pytest.mark.usefixtures("no_library")
def test_without_the_library():
    """NumPy computes, the reason is told, and whoever requires the library is told how to get it."""
    assert available() == {}
    assert kernels() is None
    assert "was not compiled" in describe_native()["reason"] or sys.platform == "win32"


@pytest.fixture
def no_library(monkeypatch, tmp_path):
    from aimv2_np.kernels.native import library

    monkeypatch.setattr(library, "path", lambda: tmp_path / path().name)
    for function in (library._open, library._asked_for):
        function.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(library, "_chosen", [])
        yield
    for function in (library._open, library._asked_for):
        function.cache_clear()


@pytest.mark.usefixtures("no_library")
def test_required_but_missing(monkeypatch):
    monkeypatch.setenv(VARIABLE, "require")
    with pytest.raises(ImportError, match="AIMV2_NP_NATIVE is require, and libaimv2"):
        kernels()


@pytest.mark.usefixtures("no_library")
@pytest.mark.skipif(sys.platform == "win32", reason="no library there")
@pytest.mark.parametrize(("content", "said"), [(b"", "cannot be loaded"), (None, "compiled from other sources")])
def test_a_library_that_is_none_or_another_one(tmp_path, content, said):
    """A header that has changed since it was compiled may have other structures: nothing is called."""
    if content is None and not path().is_file():
        pytest.skip("no compiled kernels here")
    (tmp_path / path().name).write_bytes(path().read_bytes() if content is None else content)
    (tmp_path / "kernels.h").write_text("/* another one */", encoding="ascii")
    assert available() == {}
    assert said in describe_native()["reason"]
    assert "native.build" in describe_native()["reason"]
