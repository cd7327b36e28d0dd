from types import SimpleNamespace

import numpy as np
import pytest

from aimv2_np.bench import blas
from aimv2_np.bench.blas import CORE_TYPES, NAMES, core_types, describe_blas

MKL = {
    "user_api": "blas", "internal_api": "mkl", "filepath": "/env/lib/libmkl_rt.so", "version": "2025.0",
    "num_threads": 8, "threading_layer": "intel",
}  # fmt: skip


def libraries(monkeypatch, *infos):
    monkeypatch.setattr(
        blas, "blas_libraries", lambda: [SimpleNamespace(info=lambda info=info: info) for info in infos]
    )


def built_with(monkeypatch, name):
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": {"blas": {"name": name}}})


def test_this_one():
    found = describe_blas()
    assert set(found) == {"library", "version", "kernel", "threads", "threading", "built_as", "forced", "note"}
    if found["library"] == "openblas":
        assert found["kernel"]
        assert found["threads"] >= 1
        assert found["note"] is None


def test_mkl(monkeypatch):
    libraries(monkeypatch, MKL)
    built_with(monkeypatch, "mkl-sdl")
    found = describe_blas()
    assert (found["library"], found["kernel"], found["threads"]) == ("mkl", None, 8)
    assert found["note"].startswith("NumPy uses MKL: it chooses its kernels by itself")
    assert "its number of threads is set from here" in found["note"]


def test_blis_names_its_kernel(monkeypatch):
    blis = {"user_api": "blas", "internal_api": "blis", "filepath": "libblis.so", "architecture": "zen3"}
    libraries(monkeypatch, blis)
    found = describe_blas()
    assert (found["library"], found["kernel"]) == ("blis", "zen3")
    assert "BLIS" in found["note"]


@pytest.mark.parametrize(
    ("name", "library", "words"),
    [("accelerate", "accelerate", "NumPy uses Accelerate"), ("unheard-of", None, "could not be identified")],
)
def test_libraries_that_are_out_of_reach(monkeypatch, name, library, words):
    libraries(monkeypatch)
    built_with(monkeypatch, name)
    found = describe_blas()
    assert found["library"] == library
    assert words in found["note"]
    assert "nor can its number of threads be set here" in found["note"]


def test_what_the_user_has_forced_is_told(monkeypatch):
    monkeypatch.setenv(blas.VARIABLE, "Haswell")
    assert describe_blas()["forced"] == "Haswell"


def test_core_types():
    assert core_types("AMD64") == core_types("x86_64") == CORE_TYPES["x86_64"]
    assert "NEOVERSEV1" in core_types("arm64")
    assert core_types("riscv64") == ()
    assert set(NAMES) >= {"openblas", "mkl", "blis", "accelerate"}
