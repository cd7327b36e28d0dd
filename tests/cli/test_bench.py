import json

import pytest
from click.testing import CliRunner, Result

from aimv2_np.bench import kernels
from aimv2_np.cli.app import app

QUICK = ("--seconds", "0", "--cold", "0")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def test_a_table():
    result = run("tiny", "--batch", "1", "2", *QUICK)
    assert result.exit_code == 0
    assert "tiny, 1,296,641 parameters, 5.2 MB" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("64x64")]
    assert [row[1] for row in rows] == ["1", "2"]
    assert all(row[row.index("%") - 1].replace(".", "").isdigit() for row in rows)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_everything():
    result = run("tiny", "--seconds", "0", "--cold", "1", "--profile", "--processes", "2", "--threads", "1")
    assert result.exit_code == 0
    for line in ("linear 128->352", "attention", "between operations", "first feature", "2 processes"):
        assert any(it.startswith(line) for it in result.stdout.splitlines())
    assert "64x64, batch 1, threads 1" in result.stdout


def test_json():
    value = json.loads(run("tiny", "--json", *QUICK).stdout)
    assert value["schema"] == 1
    assert value["models"][0]["cases"][0]["per_second"] > 0


def test_texts_and_sizes():
    assert "texts of 7" in run("tiny", "--text-tokens", "7", *QUICK).stdout
    assert "32x40" in run("tiny", "--size", "32x40", *QUICK).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "big"], "'big' is no size; expected pixels, like 336, or height x width, like 224x448"),
        (["--batch", "0"], "0 is not in the range"),
        (["--blas", "--profile"], "--blas compares kernels for one model and nothing else"),
        (["tiny", "large-224", "--blas"], "--blas compares kernels for one model and nothing else"),
        (["--processes", "1"], "1 is not in the range"),
    ],
)
def test_wrong_options(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lage"], "model is 'lage'; expected tiny, one of large-224"),
        (["tiny", "--layers", "1"], "layers is 1, but tiny is a checkpoint"),
        (["tiny", "--threads", "100000"], "threads is 100000; expected 1 to"),
        (["tiny", "--size", "4"], "size is 4x4; expected at least one patch"),
        (["tiny", "--size", "64", "--text-tokens", "4"], "sizes of pictures and lengths of texts are both given"),
    ],
)
def test_one_line_per_error(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")
    assert len(result.stderr.splitlines()) == 1


BLAS = {
    "library": "openblas", "version": "0.3", "kernel": "Skylakex", "threads": 2, "threading": "pthreads",
    "built_as": "openblas", "forced": None, "note": None,
}  # fmt: skip
SLOW = {"kernel": "Skylakex", "core_type": None, "gflops": 100.0}
FAST = {"kernel": "Haswell", "core_type": "HASWELL", "gflops": 110.0}


def told(monkeypatch, **changes) -> Result:
    found = {"blas": BLAS, "threads": 2, "kernels": [FAST, SLOW], "unusable": {}, "fastest": "HASWELL", **changes}
    monkeypatch.setattr(kernels, "compare_kernels", lambda *_: found)
    return run("--blas")


def test_a_faster_kernel_comes_with_the_command(monkeypatch):
    result = told(monkeypatch, unusable={"COOPERLAKE": kernels.LACKING})
    assert result.exit_code == 0
    assert "NumPy uses OpenBLAS 0.3 (Skylakex kernels), 2 threads" in result.stdout
    assert "Haswell is the fastest here" in result.stdout
    assert "    OPENBLAS_CORETYPE=HASWELL aimv2-np …" in result.stdout
    assert "lacks its instructions" in result.stdout


def test_no_faster_kernel(monkeypatch):
    result = told(monkeypatch, kernels=[SLOW], fastest=None, blas={**BLAS, "forced": "SKYLAKEX"})
    assert "Skylakex is in use, and none is faster." in result.stdout
    assert "OPENBLAS_CORETYPE=SKYLAKEX is set in this environment." in result.stdout


def test_another_library(monkeypatch):
    mkl = {**BLAS, "library": "mkl", "kernel": None, "note": "NumPy uses MKL: it chooses its kernels by itself"}
    result = told(monkeypatch, kernels=[{**SLOW, "kernel": "mkl"}], fastest=None, blas=mkl)
    assert "NumPy uses MKL 0.3" in result.stdout
    assert "it chooses its kernels by itself" in result.stdout
    assert "none is faster" not in result.stdout


def test_kernels_of_this_machine():
    result = run("tiny", "--blas", "--seconds", "0", "--json", "--threads", "1")
    value = json.loads(result.stdout)
    assert value["kernels"]
    assert sum(it["core_type"] is None for it in value["kernels"]) == 1
