"""Apple's PyTorch layout, of `aim.v2.torch` and the original releases: q, k, v stacked, positions with a batch axis."""

from aimv2_np.storage.layouts.table import LEAD, Layout, Row, weight_and_bias

TRUNK = (
    Row("trunk.blocks.{i}.norm_1.weight", "encoder.layers.{i}.rms_norm1.weight"),
    *weight_and_bias("trunk.blocks.{i}.attn.qkv", "encoder.layers.{i}.attention.{qkv}_proj"),
    *weight_and_bias("trunk.blocks.{i}.attn.proj", "encoder.layers.{i}.attention.out_proj"),
    Row("trunk.blocks.{i}.norm_2.weight", "encoder.layers.{i}.rms_norm2.weight"),
    *weight_and_bias("trunk.blocks.{i}.mlp.fc1", "encoder.layers.{i}.ffn.gate_proj"),
    *weight_and_bias("trunk.blocks.{i}.mlp.fc3", "encoder.layers.{i}.ffn.up_proj"),
    *weight_and_bias("trunk.blocks.{i}.mlp.fc2", "encoder.layers.{i}.ffn.down_proj"),
    Row("trunk.post_trunk_norm.weight", "rms_norm.weight"),
)
VISION = (
    *weight_and_bias("preprocessor.patchifier.proj", "embeddings.patch_embed"),
    Row("preprocessor.patchifier.norm.weight", "embeddings.rms_norm.weight"),
    Row("preprocessor.pos_embed", "embeddings.position_embedding.weight", LEAD),
    *TRUNK,
    *weight_and_bias("head.k", "head.k_proj"),
    *weight_and_bias("head.v", "head.v_proj"),
    Row("head.cls_token", "head.cls_token"),
    *weight_and_bias("head.linear", "head.output_proj"),
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
    vision=VISION,
    text=TEXT,
    both=BOTH,
    prefixes=PREFIXES,
)
