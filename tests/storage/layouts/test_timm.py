"""timm's layout: fc1_g is the gate, fc1_x what it opens, and there is a vision tower only."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from aimv2_np import Aimv2TextModel, Aimv2VisionModel, load
from aimv2_np.tasks.convert import convert
from tests.support.layouts import FILES, folder_of
from tests.support.models import text_model


def test_the_mlp_and_the_stacked_projections(tmp_path):
    folder = folder_of(tmp_path, "timm", "timm")
    stored, model = load_file(folder / FILES["timm"]), load(folder)
    assert isinstance(model, Aimv2VisionModel)
    block = model.encoder.layers[0]
    np.testing.assert_array_equal(block.ffn.gate_proj.weight, stored["blocks.0.mlp.fc1_g.weight"])
    np.testing.assert_array_equal(block.ffn.up_proj.weight, stored["blocks.0.mlp.fc1_x.weight"])
    parts = [block.attention.q_proj.weight, block.attention.k_proj.weight, block.attention.v_proj.weight]
    np.testing.assert_array_equal(np.concatenate(parts), stored["blocks.0.attn.qkv.weight"])


def test_a_text_tower_has_no_place_in_it(tmp_path):
    model = text_model()
    assert isinstance(model, Aimv2TextModel)
    model.save_pretrained(tmp_path / "text")
    with pytest.raises(ValueError, match="timm"):
        convert(tmp_path / "text", tmp_path / "out", layout="timm")
    assert not (tmp_path / "out" / FILES["timm"]).exists()
