"""What was measured on a GPU, as tables."""

from aimv2_np.cli.bench_gpu import print_gpu
from aimv2_np.cli.output import console

CASE = {
    "input": {"kind": "pictures", "height": 224, "width": 224}, "batch": 8, "seconds": {"median": 0.0123},
    "per_second": 650.4, "tflops": 12.34, "gemm_fraction": 0.5, "copy_gb_per_second": 1234.0,
    "memory": {"weights": 10**9, "peak": 2 * 10**9},
    "graphs": {"recorded": 1, "replayed": 40, "failed": 0, "reasons": []},
}  # fmt: skip
COLD = {"stages": {"load": 0.5, "run": 0.25}, "seconds": {"median": 1.5}}
RESULT = {
    "device": {"name": "A GPU", "memory": 80 * 10**9}, "versions": {"cupy-cuda12x": "14.0"}, "runtime": "12.9",
    "dtype": "bfloat16",
    "models": [{"name": "large-224", "random": True, "parameters": 309197824, "cases": [CASE], "cold": COLD}],
}  # fmt: skip


def printed(result):
    screen = console()
    with screen.capture() as captured:
        print_gpu(screen, result)
    return captured.get()


def test_the_device_the_model_its_cases_and_its_cold_start():
    text = printed(RESULT)
    assert "A GPU" in text
    assert "CuPy 14.0 for CUDA 12.9; bfloat16" in text
    assert "large-224, 309,197,824 parameters, random weights" in text
    (row,) = (line for line in text.splitlines() if "224x224" in line)
    assert {"8", "12.3", "650"} <= set(row.split())
    assert "first feature 1.50 s after the start (load 0.50 s, run 0.25 s)" in text


def test_without_a_cold_start():
    text = printed({**RESULT, "models": [{**RESULT["models"][0], "cold": None, "random": False}]})
    assert "first feature" not in text
    assert "its weights" in text
