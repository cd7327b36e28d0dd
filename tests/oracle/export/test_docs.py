"""The code on docs/export.md runs, one block after the other."""

import pytest

pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

from tests.docs.test_code import blocks


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("docs/export.md"):
        exec(compile(block, "docs/export.md", "exec"), names)
    assert (tmp_path / "theirs.safetensors").exists()
