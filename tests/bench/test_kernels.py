"""The processes are real, the matrix libraries are not: which kernels there are differs from machine to machine."""

import sys

import pytest

from aimv2_np.bench import kernels
from aimv2_np.bench.ceilings import Shape
from aimv2_np.bench.talk import Worker, module_command

# Kernels by what is asked for, with the seconds that a product takes them; who asks for BAD dies as on a processor that
# lacks an instruction, who asks for anything else gets what is there anyway.
FAKE = """
import os, signal
from aimv2_np.bench.talk import serve

asked = os.environ.get("OPENBLAS_CORETYPE")
seconds = {None: 4.0, "QUICK": 2.0, "EQUAL": 3.99}

def prepare(sizes, threads):
    if asked == "BAD":
        os.kill(os.getpid(), signal.SIGILL)
    kernel = asked.title() if asked and asked in seconds else "Usual"
    return {"library": LIBRARY, "kernel": kernel if LIBRARY == "openblas" else None}

serve({"prepare_products": prepare, "multiply": lambda: seconds.get(asked, 4.0)})
"""


@pytest.fixture
def libraries(monkeypatch):
    """Sets the library that the processes say they have, and the kernels that are tried."""

    def choose(library, *core_types):
        code = FAKE.replace("LIBRARY", repr(library))
        monkeypatch.setattr(kernels, "core_types", lambda _: core_types)
        monkeypatch.setattr(kernels, "Worker", lambda _, changes: Worker([sys.executable, "-c", code], changes))
        monkeypatch.delenv(kernels.VARIABLE, raising=False)

    return choose


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_faster_kernel_is_named(libraries):
    libraries("openblas", "QUICK", "BAD", "UNHEARD")
    found = kernels.compare_kernels([Shape(10, 10, 10)], 1, 0.0)
    assert [it["kernel"] for it in found["kernels"]] == ["Quick", "Usual"]
    assert found["fastest"] == "QUICK"
    assert found["kernels"][0]["gflops"] == pytest.approx(2000 / 2 / 1e9)
    assert found["kernels"][1]["core_type"] is None
    assert found["unusable"] == {"BAD": kernels.LACKING, "UNHEARD": "this OpenBLAS takes Usual instead"}


def test_a_kernel_that_is_hardly_faster_is_not_worth_it(libraries):
    libraries("openblas", "EQUAL")
    found = kernels.compare_kernels([Shape(10, 10, 10)], 1, 0.0)
    assert found["kernels"][0]["kernel"] == "Equal"
    assert found["fastest"] is None


def test_other_libraries_have_one_kernel(libraries):
    libraries("mkl", "QUICK")
    found = kernels.compare_kernels([Shape(10, 10, 10)], 1, 0.0)
    assert [it["kernel"] for it in found["kernels"]] == ["mkl"]
    assert found["fastest"] is None
    assert found["unusable"] == {}


def test_the_real_thing_here():
    with Worker(module_command(kernels.WORKER)) as worker:
        blas = worker.ask("prepare_products", sizes=[[8, 8, 8]], threads=1)
        assert "library" in blas
        assert worker.ask("multiply") > 0
