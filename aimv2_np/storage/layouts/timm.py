"""timm's layout, of its `VisionTransformer` with SwiGLU and RMSNorm: the vision tower alone, without pooling head."""

from aimv2_np.storage.layouts.table import LEAD, Layout, Row, weight_and_bias

VISION = (
    *weight_and_bias("patch_embed.proj", "embeddings.patch_embed"),
    Row("patch_embed.norm.weight", "embeddings.rms_norm.weight"),
    Row("pos_embed", "embeddings.position_embedding.weight", LEAD),
    Row("blocks.{i}.norm1.weight", "encoder.layers.{i}.rms_norm1.weight"),
    *weight_and_bias("blocks.{i}.attn.qkv", "encoder.layers.{i}.attention.{qkv}_proj"),
    *weight_and_bias("blocks.{i}.attn.proj", "encoder.layers.{i}.attention.out_proj"),
    Row("blocks.{i}.norm2.weight", "encoder.layers.{i}.rms_norm2.weight"),
    *weight_and_bias("blocks.{i}.mlp.fc1_g", "encoder.layers.{i}.ffn.gate_proj"),
    *weight_and_bias("blocks.{i}.mlp.fc1_x", "encoder.layers.{i}.ffn.up_proj"),
    *weight_and_bias("blocks.{i}.mlp.fc2", "encoder.layers.{i}.ffn.down_proj"),
    Row("norm.weight", "rms_norm.weight"),
)

LAYOUT = Layout(
    name="timm",
    title="timm",
    vision=VISION,
    text=(),
    both=(),
    prefixes={"": ""},
)
