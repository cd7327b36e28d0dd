"""The names of llama.cpp's GGUF files: of the vision encoder behind `v.`, as its multimodal code writes them.

For names alone: arrays that a port on ggml dumps are called after its weights. No file is read by this table.
"""

from aimv2_np.storage.layouts.table import TEXT, VISION, Layout, Row, weight_and_bias

BLOCK = (
    Row("blk.{i}.ln1.weight", "encoder.layers.{i}.rms_norm1.weight"),
    *weight_and_bias("blk.{i}.attn_q", "encoder.layers.{i}.attention.q_proj"),
    *weight_and_bias("blk.{i}.attn_k", "encoder.layers.{i}.attention.k_proj"),
    *weight_and_bias("blk.{i}.attn_v", "encoder.layers.{i}.attention.v_proj"),
    *weight_and_bias("blk.{i}.attn_out", "encoder.layers.{i}.attention.out_proj"),
    Row("blk.{i}.ln2.weight", "encoder.layers.{i}.rms_norm2.weight"),
    *weight_and_bias("blk.{i}.ffn_gate", "encoder.layers.{i}.ffn.gate_proj"),
    *weight_and_bias("blk.{i}.ffn_up", "encoder.layers.{i}.ffn.up_proj"),
    *weight_and_bias("blk.{i}.ffn_down", "encoder.layers.{i}.ffn.down_proj"),
    Row("post_ln.weight", "rms_norm.weight"),
    Row("position_embd.weight", "embeddings.position_embedding.weight"),
)

LAYOUT = Layout(
    name="llamacpp",
    title="llama.cpp",
    vision=(
        *weight_and_bias("patch_embd", "embeddings.patch_embed"),
        Row("pre_ln.weight", "embeddings.rms_norm.weight"),
        *BLOCK,
    ),
    text=(Row("token_embd.weight", "embeddings.token_embedding.weight"), *BLOCK),
    both=(),
    prefixes={VISION: "v.", TEXT: "t."},
)
