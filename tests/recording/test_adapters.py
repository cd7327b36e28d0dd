"""What the adapters have in common."""

import subprocess
import sys
from pathlib import Path

import pytest

from aimv2_np.recording import adapters

FRAMEWORKS = ["torch", "transformers", "onnx", "onnxruntime"]


def test_importing_them_imports_no_framework():
    code = f"import sys, aimv2_np.recording.adapters; print([n for n in {FRAMEWORKS} if n in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("record", "missing"), [(adapters.record_torch, "torch"), (adapters.record_onnx, "onnxruntime")]
)
def test_without_the_framework_the_error_names_it(record, missing, monkeypatch, tmp_path):
    for name in FRAMEWORKS:
        monkeypatch.setitem(sys.modules, name, None)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    with pytest.raises(ImportError, match=missing):
        record(model, {}, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == [model]


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected an \.onnx model"):
        adapters.record_onnx(tmp_path / "none.onnx", {}, tmp_path / "a.safetensors")
