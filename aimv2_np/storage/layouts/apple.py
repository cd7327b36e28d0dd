"""Apple's PyTorch layout, of `aim.v2.torch` and the original releases: q, k, v stacked, positions with a batch axis."""

from aimv2_np.storage.layouts.table import LEAD, Layout, Row

TRUNK = (
    Row("trunk.blocks.{i}.norm_1.weight", "encoder.layers.{i}.rms_norm1.weight"),
    Row("trunk.blocks.{i}.attn.qkv.weight", "encoder.layers.{i}.attention.{qkv}_proj.weight"),
    Row("trunk.blocks.{i}.attn.qkv.bias", "encoder.layers.{i}.attention.{qkv}_proj.bias"),
    Row("trunk.blocks.{i}.attn.proj.weight", "encoder.layers.{i}.attention.out_proj.weight"),
    Row("trunk.blocks.{i}.attn.proj.bias", "encoder.layers.{i}.attention.out_proj.bias"),
    Row("trunk.blocks.{i}.norm_2.weight", "encoder.layers.{i}.rms_norm2.weight"),
    Row("trunk.blocks.{i}.mlp.fc1.weight", "encoder.layers.{i}.ffn.gate_proj.weight"),
    Row("trunk.blocks.{i}.mlp.fc1.bias", "encoder.layers.{i}.ffn.gate_proj.bias"),
    Row("trunk.blocks.{i}.mlp.fc3.weight", "encoder.layers.{i}.ffn.up_proj.weight"),
    Row("trunk.blocks.{i}.mlp.fc3.bias", "encoder.layers.{i}.ffn.up_proj.bias"),
    Row("trunk.blocks.{i}.mlp.fc2.weight", "encoder.layers.{i}.ffn.down_proj.weight"),
    Row("trunk.blocks.{i}.mlp.fc2.bias", "encoder.layers.{i}.ffn.down_proj.bias"),
    Row("trunk.post_trunk_norm.weight", "rms_norm.weight"),
)
VISION = (
    Row("preprocessor.patchifier.proj.weight", "embeddings.patch_embed.weight"),
    Row("preprocessor.patchifier.proj.bias", "embeddings.patch_embed.bias"),
    Row("preprocessor.patchifier.norm.weight", "embeddings.rms_norm.weight"),
    Row("preprocessor.pos_embed", "embeddings.position_embedding.weight", LEAD),
    *TRUNK,
    Row("head.k.weight", "head.k_proj.weight"),
    Row("head.k.bias", "head.k_proj.bias"),
    Row("head.v.weight", "head.v_proj.weight"),
    Row("head.v.bias", "head.v_proj.bias"),
    Row("head.cls_token", "head.cls_token"),
    Row("head.linear.weight", "head.output_proj.weight"),
    Row("head.linear.bias", "head.output_proj.bias"),
)
TEXT = (
    Row("preprocessor.text_embedding.weight", "embeddings.token_embedding.weight"),
    Row("preprocessor.positional_embedding", "embeddings.position_embedding.weight"),
    *TRUNK,
)
BOTH = (
    Row("image_projector.weight", "visual_projection.weight"),
    Row("text_projector.weight", "text_projection.weight"),
    Row("log_logit_scale", "logit_scale"),
)
PREFIXES = {"": "", "vision_model.": "image_encoder.", "text_model.": "text_encoder."}


LAYOUT = Layout(
    name="apple",
    title="Apple PyTorch",
    file="model.safetensors",
    metadata={"format": "pt"},
    vision=VISION,
    text=TEXT,
    both=BOTH,
    prefixes=PREFIXES,
)
