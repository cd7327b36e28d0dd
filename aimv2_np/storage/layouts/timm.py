"""timm's layout, of its `VisionTransformer` with SwiGLU and RMSNorm: the vision tower alone, without pooling head."""

from aimv2_np.storage.layouts.table import LEAD, Layout, Row

VISION = (
    Row("patch_embed.proj.weight", "embeddings.patch_embed.weight"),
    Row("patch_embed.proj.bias", "embeddings.patch_embed.bias"),
    Row("patch_embed.norm.weight", "embeddings.rms_norm.weight"),
    Row("pos_embed", "embeddings.position_embedding.weight", LEAD),
    Row("blocks.{i}.norm1.weight", "encoder.layers.{i}.rms_norm1.weight"),
    Row("blocks.{i}.attn.qkv.weight", "encoder.layers.{i}.attention.{qkv}_proj.weight"),
    Row("blocks.{i}.attn.qkv.bias", "encoder.layers.{i}.attention.{qkv}_proj.bias"),
    Row("blocks.{i}.attn.proj.weight", "encoder.layers.{i}.attention.out_proj.weight"),
    Row("blocks.{i}.attn.proj.bias", "encoder.layers.{i}.attention.out_proj.bias"),
    Row("blocks.{i}.norm2.weight", "encoder.layers.{i}.rms_norm2.weight"),
    Row("blocks.{i}.mlp.fc1_g.weight", "encoder.layers.{i}.ffn.gate_proj.weight"),
    Row("blocks.{i}.mlp.fc1_g.bias", "encoder.layers.{i}.ffn.gate_proj.bias"),
    Row("blocks.{i}.mlp.fc1_x.weight", "encoder.layers.{i}.ffn.up_proj.weight"),
    Row("blocks.{i}.mlp.fc1_x.bias", "encoder.layers.{i}.ffn.up_proj.bias"),
    Row("blocks.{i}.mlp.fc2.weight", "encoder.layers.{i}.ffn.down_proj.weight"),
    Row("blocks.{i}.mlp.fc2.bias", "encoder.layers.{i}.ffn.down_proj.bias"),
    Row("norm.weight", "rms_norm.weight"),
)

LAYOUT = Layout(
    name="timm",
    title="timm",
    file="model.safetensors",
    metadata={"format": "pt"},
    vision=VISION,
    text=(),
    both=(),
    prefixes={"": ""},
)
