"""aimv2_np/storage/layouts/foreign.py: what is not AIMv2 is called by its name."""

import numpy as np
import pytest

from aimv2_np import Aimv2Model, Aimv2VisionModel, CheckpointError, load
from aimv2_np.storage import LAYOUTS, open_checkpoint, save_safetensors
from aimv2_np.storage.layouts.foreign import looks_like
from aimv2_np.tasks import describe
from tests.support.layouts import ALL, folder_of
from tests.support.two_towers import save_two_towers

# Names as these models' own checkpoints have them.
STRANGERS = {
    "OpenAI CLIP": [
        ["vision_model.embeddings.class_embedding", "vision_model.embeddings.patch_embedding.weight",
         "text_model.embeddings.token_embedding.weight", "logit_scale", "visual_projection.weight"],
        ["text_model.encoder.layers.0.self_attn.q_proj.weight", "text_model.final_layer_norm.bias"],
        ["visual.class_embedding", "visual.proj", "token_embedding.weight", "positional_embedding", "ln_final.weight"],
        ["transformer.resblocks.0.attn.in_proj_weight", "text_projection"],
    ],
    "SigLIP": [
        ["vision_model.head.probe", "vision_model.embeddings.patch_embedding.weight", "logit_scale", "logit_bias"],
        ["vision_model.head.attention.in_proj_weight", "text_model.encoder.layers.0.self_attn.q_proj.weight"],
    ],
    "DINOv2": [
        ["embeddings.mask_token", "embeddings.cls_token", "encoder.layer.0.layer_scale1.lambda1", "layernorm.weight"],
        ["cls_token", "mask_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.ls1.gamma", "norm.weight"],
        ["cls_token", "reg_token", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.norm1.weight"],
    ],
    "plain vision transformer": [
        ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.0.attn.qkv.weight"],
        ["pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.bias", "blocks.0.mlp.fc1.weight"],
    ],
    "state of an optimizer": [
        ["state.0.exp_avg", "state.0.exp_avg_sq", "state.0.step"],
        ["encoder.layers.0.rms_norm1.weight.momentum_buffer"],
        ["params/trunk/post_trunk_norm/scale", "opt_state/0/mu/trunk/post_trunk_norm/scale"],
    ],
    "LoRA adapter": [
        ["base_model.model.encoder.layers.0.attention.q_proj.lora_A.weight"],
        ["vision_model.encoder.layers.0.attention.q_proj.lora_B.default.weight", "rms_norm.weight"],
        ["trunk.blocks.0.attn.qkv.lora_down.weight"],
    ],
    "first AIM": [["preprocessor.pos_embed", "trunk.blocks.0.norm_1.weight", "trunk.blocks.0.norm_1.bias"]],
    "quantised": [["encoder.layers.0.ffn.gate_proj.weight.absmax"], ["trunk.blocks.0.mlp.fc1.biases"]],
    "language model": [["model.embed_tokens.weight", "model.layers.0.mlp.gate_proj.weight"]],
}  # fmt: skip
CASES = [(what, names) for what, several in STRANGERS.items() for names in several]


@pytest.mark.parametrize(("what", "names"), CASES)
def test_strangers_are_named(tmp_path, what, names):
    save_safetensors(tmp_path / "model.safetensors", {name: np.zeros(2, "f4") for name in names})
    with pytest.raises(CheckpointError, match=rf"is no AIMv2: it looks like .*{what}.*\(it has '"):
        load(tmp_path)
    # Whatever config.json says, and before it is read.
    (tmp_path / "config.json").write_text('{"model_type": "clip_vision_model"}')
    for reader in (Aimv2VisionModel.from_pretrained, Aimv2Model.from_pretrained, describe):
        with pytest.raises(CheckpointError, match=f"looks like .*{what}"):
            reader(tmp_path)


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_without_a_model(tmp_path, file):
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(CheckpointError, match="looks like a LoRA adapter"):
        load(tmp_path)


@pytest.mark.parametrize(("network", "layout"), ALL)
def test_aimv2_is_no_stranger_in_any_layout(tmp_path, network, layout):
    assert looks_like(open_checkpoint(folder_of(tmp_path, network, layout)).shapes) is None


def test_nor_with_every_bias_and_in_every_table(tmp_path):
    assert looks_like(open_checkpoint(save_two_towers(tmp_path / "both")).shapes) is None
    for layout in LAYOUTS.values():
        for prefix, theirs in layout.prefixes.items():
            rows = {"": (*layout.vision, *layout.text), "vision_model.": layout.vision, "text_model.": layout.text}
            names = [theirs + row.theirs.replace("{i}", "0") for row in rows[prefix]]
            assert looks_like([*names, *(row.theirs for row in layout.both)]) is None
