"""Transformers as the other side: rounding is called rounding in every dtype, and its bug (S1) is named."""

import numpy as np
import pytest
import torch
from transformers import Aimv2TextConfig, Aimv2TextModel

from aimv2_np.comparison import compare
from aimv2_np.recording import record
from aimv2_np.recording.adapters import record_torch
from tests.support.models import both_model, pixels, text_model, tokens, vision_config
from tests.support.oracle import their_model


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("layers", [1, 12])
def test_rounding_is_no_divergence(dtype, layers, tmp_path):
    model = both_model(vision_config=vision_config(num_hidden_layers=layers))
    mask = np.ones((2, 6), np.int64)  # without one Transformers' text is not causal
    given = {"pixel_values": pixels(), "input_ids": tokens(), "attention_mask": mask}
    record(model, given, tmp_path / "ours", inner=True)
    record_torch(their_model(model).to(getattr(torch, dtype)).eval(), given, tmp_path / "theirs")
    result = compare(tmp_path / "ours", tmp_path / "theirs", model=model)
    assert result.equal, result.explanation
    # Not by luck: the tolerances are above the error by a factor that leaves room for longer sums, not for faults.
    assert result.worst[0].excess < 0.7
    assert {path.rpartition(".")[2] for path in result.missing} <= {"q", "k", "v", "scores", "probs"}  # the head's, too
    assert "vision_model.encoder.layers.0.attention.probs" not in result.missing
    assert {name.rpartition(".")[2] for name in result.extra} <= {"act_fn"}


@pytest.mark.parametrize("statistics", [False, True])
def test_the_sdpa_attention_of_transformers_is_not_causal(statistics, tmp_path):
    model, given = text_model(), {"input_ids": tokens(), "attention_mask": np.ones((2, 6), np.int64)}
    config = Aimv2TextConfig(**{**model.config.to_dict(), "attn_implementation": "sdpa"})
    theirs = Aimv2TextModel(config).eval()
    theirs.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in model.state_dict().items()})
    record(model, given, tmp_path / "ours", statistics=statistics)
    record_torch(theirs, given, tmp_path / "theirs", statistics=statistics)
    result = compare(tmp_path / "ours", tmp_path / "theirs", model=model)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == "text_not_causal"
    assert result.first.path.startswith("encoder.layers.0.attention")
