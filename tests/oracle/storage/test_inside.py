"""The vision tower of Transformers' Ovis2, out of what Transformers saves, computes what it does there."""

import numpy as np
import torch
import transformers as t

from aimv2_np import Aimv2VisionModel, load

TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28,
         "patch_size": 7}  # fmt: skip
WORDS = {"model_type": "qwen2", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
         "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 50}  # fmt: skip


def test_ovis2(tmp_path):
    torch.manual_seed(0)
    config = t.Ovis2Config(
        vision_config={**TOWER, "vocab_size": 24, "hidden_stride": 2}, text_config=WORDS, vocab_size=50, hidden_size=16
    )
    model = t.Ovis2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3 + (parameter.ndim == 1))
    model.save_pretrained(tmp_path)
    ours = load(tmp_path)
    assert isinstance(ours, Aimv2VisionModel)
    assert not ours.config.use_head
    pixels = np.random.default_rng(0).standard_normal((2, 3, 28, 28), dtype=np.float32)
    with torch.no_grad():
        expected = model.model.vision_tower.transformer(torch.from_numpy(pixels)).last_hidden_state.numpy()
    # A dozen float32 sums of at most 147 terms one after the other.
    np.testing.assert_allclose(ours(pixels).last_hidden_state, expected, atol=2e-4 * np.abs(expected).max())
    assert sum("head_linear" in name or "head_norm" in name for name in ours.left_aside) == 3
    assert any("language_model" in part for part in ours.left_aside.parts())
