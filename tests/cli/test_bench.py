import json

import pytest
from click.testing import CliRunner, Result

from aimv2_np.bench import kernels
from aimv2_np.cli.app import app
from aimv2_np.cli.bench import print_result
from aimv2_np.cli.output import console
from aimv2_np.kernels.native.library import describe_native

QUICK = ("--seconds", "0", "--cold", "0")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def test_a_table():
    result = run("tiny", "--batch", "1", "2", *QUICK)
    assert result.exit_code == 0
    assert "tiny, 1,296,641 parameters, 5.2 MB" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("64x64")]
    assert [row[1] for row in rows] == ["1", "2"]
    body = describe_native()["used"] or "NumPy"
    assert all(row[2].startswith(f"{body}×") for row in rows)
    assert " ".join(describe_native()["reason"].split()) in " ".join(result.stdout.split())
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


GPU_CASE = {
    "input": {"kind": "pictures", "height": 224, "width": 224}, "batch": 8, "seconds": {"median": 0.0123},
    "per_second": 650.4, "tflops": 12.34, "gemm_fraction": 0.5, "copy_gb_per_second": 1234.0,
    "memory": {"weights": 10**9, "peak": 2 * 10**9},
    "graphs": {"recorded": 1, "replayed": 40, "failed": 0, "reasons": []},
}  # fmt: skip
GPU_COLD = {"stages": {"load": 0.5, "run": 0.25}, "seconds": {"median": 1.5}, "memory": {"peak": None}}
ON_A_GPU = {
    "device": {"name": "A GPU", "memory": 80 * 10**9}, "versions": {"cupy-cuda12x": "14.0"}, "runtime": "12.9",
    "dtype": "bfloat16",
    "models": [{
        "name": "large-224", "random": True, "parameters": 309197824, "cases": [GPU_CASE], "cold": GPU_COLD,
        "sharing": None,
    }],
}  # fmt: skip


def printed(result):
    screen = console()
    with screen.capture() as captured:
        print_result(screen, result)
    return captured.get()


def test_the_device_the_model_its_cases_and_its_cold_start():
    text = printed(ON_A_GPU)
    assert "A GPU" in text
    assert "CuPy 14.0 for CUDA 12.9; bfloat16" in text
    assert "large-224, 309,197,824 parameters, random weights" in text
    (row,) = (line for line in text.splitlines() if "224x224" in line)
    assert {"8", "12.3", "650"} <= set(row.split())
    assert "first feature 1.50 s after the start (load 0.50 s, run 0.25 s)" in " ".join(text.split())


def test_without_a_cold_start():
    model = {**ON_A_GPU["models"][0], "cold": None, "random": False, "weight_bytes": 618_000_000}
    text = printed({**ON_A_GPU, "models": [model]})
    assert "first feature" not in text
    assert "309,197,824 parameters, 618 MB" in text


def test_recordings_that_failed():
    case = {**GPU_CASE, "graphs": {"recorded": 0, "replayed": 0, "failed": 2, "reasons": ["something in it waits"]}}
    text = printed({**ON_A_GPU, "models": [{**ON_A_GPU["models"][0], "cases": [case]}]})
    assert "batch 8: 0 CUDA graphs recorded, replayed 0 times; 2 recordings failed: something in it waits" in " ".join(
        text.split()
    )
