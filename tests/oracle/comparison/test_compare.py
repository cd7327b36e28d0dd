"""Transformers as the other side: rounding is called rounding in every dtype, and its bug (S1) is named."""

import numpy as np
import pytest
import torch
from transformers import Aimv2TextConfig, Aimv2TextModel

from aimv2_np.comparison import Tolerances, compare
from aimv2_np.recording import record
from aimv2_np.recording.adapters import record_torch
from tests.support.models import both_model, pixels, text_model, tokens, vision_config, vision_model
from tests.support.oracle import their_model
from tests.support.port import recorded


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


def test_outputs_of_transformers_are_a_side_as_they_are():
    """Tensors, and the tuple of hidden states, of which the last one is what the final norm gives."""
    model = vision_model()
    with torch.no_grad():
        outputs = their_model(model)(torch.from_numpy(pixels()), output_hidden_states=True)
    result = compare(recorded(model, {"pixel_values": pixels()}), outputs, tolerances=Tolerances(dtype="float32"))
    assert result.equal, result.explanation
    paths = {difference.path for difference in result.differences}
    assert {"last_hidden_state", "pooler_output", "embeddings", "encoder.layers.0"} <= paths
    half = {name: value.bfloat16() for name, value in outputs.items() if isinstance(value, torch.Tensor)}
    rounded = compare(recorded(model, {"pixel_values": pixels()}), half)
    assert rounded.equal, rounded.explanation
    assert {difference.dtype for difference in rounded.differences} == {"bfloat16"}
    assert compare(recorded(model, {"pixel_values": pixels()}), {"rms_norm": outputs[0].tolist()}).equal


def test_the_tower_of_ovis2(tmp_path):
    """AIMv2 inside of another model, under that one's names."""
    from transformers.models.ovis2 import Ovis2VisionConfig
    from transformers.models.ovis2.modeling_ovis2 import Ovis2VisionModel

    model = vision_model(use_head=False)
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")
    config = Ovis2VisionConfig(
        **{name: getattr(model.config, name) for name in sizes}, rms_norm_eps=model.config.rms_norm_eps,
        attn_implementation="eager",
    )  # fmt: skip
    theirs = Ovis2VisionModel(config).eval()
    weights = {
        "transformer." + name.replace("patch_embed.", "patch_embedding."): torch.from_numpy(array.copy())
        for name, array in model.state_dict().items()
    }
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.startswith("head_") for name in missing), missing
    call = theirs.transformer
    record(model, {"pixel_values": pixels()}, tmp_path / "ours")
    given = {"pixel_values": pixels()}
    record_torch(theirs, given, tmp_path / "theirs", call=lambda pixel_values: call(pixel_values))
    result = compare(tmp_path / "ours", tmp_path / "theirs")
    assert result.equal, result.explanation
    assert set(result.missing) <= {"last_hidden_state"}


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
