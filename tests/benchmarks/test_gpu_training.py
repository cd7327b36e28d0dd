"""The measurement of training on a GPU, on the stand-in: that it passes what is right, and nothing else."""

from types import ModuleType

import numpy as np
import pytest

from aimv2_np import Aimv2VisionConfig
from tests.benchmarks import compare_training, gpu_training


def test_agreement(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_training, "STEPS", 2)
    monkeypatch.setattr(gpu_training, "WITHIN", {"bfloat16": 2.0**-7})
    assert gpu_training.agreement()
    assert "bfloat16: 2 steps, off by" in capsys.readouterr().out
    monkeypatch.setattr(gpu_training, "losses", lambda backend, _: np.full(2, 1.0 + 0.1 * (backend == "cupy")))
    assert not gpu_training.agreement()
    assert "right=False" in capsys.readouterr().out


def test_speed(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = Aimv2VisionConfig(
        hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=112,
        use_head=False,
    )  # fmt: skip
    monkeypatch.setattr(compare_training, "VIT", small)
    monkeypatch.setattr(gpu_training, "_torch_has_cuda", lambda: False)
    assert gpu_training.speed(batch=1, rounds=1)
    lines = capsys.readouterr().out.splitlines()
    names = ["here, float32", "here, float16", "here, bfloat16"]
    assert [line.split("|")[1].strip() for line in lines[2:]] == names
    assert all(float(line.split("|")[2]) > 0 for line in lines[2:])
