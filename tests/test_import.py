"""`import aimv2_np` stays light: what is heavy is imported by the functions that need it."""

import subprocess
import sys
from pathlib import Path

import pytest

import aimv2_np

HEAVY = ["PIL", "click", "cupy", "huggingface_hub", "matplotlib", "rich", "tokenizers", "torch", "transformers"]


def fresh(code):
    """Standard output of `code` in a new interpreter."""
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_nothing_heavy_is_imported():
    loaded = fresh(f"import aimv2_np, sys; print(*(name for name in {[*HEAVY, 'jaxtyping']} if name in sys.modules))")
    assert loaded.split() == []


def test_nothing_heavy_is_needed_to_run_a_model():
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))\n"  # importing any of them now raises ImportError
        "import numpy as np; from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel, trace\n"
        "config = Aimv2VisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,\n"
        "                           image_size=4, patch_size=2)\n"
        "model = Aimv2VisionModel(config)\n"
        "with trace(model): print(model(np.zeros((1, 3, 4, 4), 'float32')).last_hidden_state.shape)\n"
    )
    assert fresh(code).strip() == "(1, 4, 8)"


@pytest.mark.parametrize("name", aimv2_np.__all__)
def test_public_names_exist_and_are_documented(name):
    value = getattr(aimv2_np, name)
    assert (value.__doc__ or "").strip()


def test_public_names_are_sorted_and_complete():
    assert aimv2_np.__all__ == sorted(aimv2_np.__all__)
    namespace = {}
    exec("from aimv2_np import *", namespace)
    assert set(aimv2_np.__all__) <= set(namespace)
    promised = {
        "Aimv2Config", "Aimv2VisionConfig", "Aimv2TextConfig", "Aimv2Model", "Aimv2VisionModel", "Aimv2TextModel",
        "Aimv2Processor", "Aimv2ImageProcessor", "Aimv2Tokenizer", "load", "trace", "textbook",
    }  # fmt: skip
    assert promised <= set(aimv2_np.__all__)
