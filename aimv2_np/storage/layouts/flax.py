"""Apple's Flax layout, of `aim.v2.jax`: a MessagePack tree, its paths joined by slashes, with transposed kernels."""

from aimv2_np.storage.layouts.table import LEAD, Form, Layout, Row

# Apple's files have the running statistics of a norm that no released network uses, and its loader asks for them.
STATISTICS = {"batch_stats/head/bn/mean": 0.0, "batch_stats/head/bn/var": 1.0}

KERNEL = Form((1, 0))  # (out, in) → (in, out); q, k and v are stacked along the output
CONVOLUTION = Form((2, 3, 1, 0))  # (D, C, P, P) → (P, P, C, D)

TRUNK = (
    Row("trunk/layers_{i}/norm_1/scale", "encoder.layers.{i}.rms_norm1.weight"),
    Row("trunk/layers_{i}/attn/qkv/kernel", "encoder.layers.{i}.attention.{qkv}_proj.weight", KERNEL),
    Row("trunk/layers_{i}/attn/qkv/bias", "encoder.layers.{i}.attention.{qkv}_proj.bias"),
    Row("trunk/layers_{i}/attn/proj/kernel", "encoder.layers.{i}.attention.out_proj.weight", KERNEL),
    Row("trunk/layers_{i}/attn/proj/bias", "encoder.layers.{i}.attention.out_proj.bias"),
    Row("trunk/layers_{i}/norm_2/scale", "encoder.layers.{i}.rms_norm2.weight"),
    Row("trunk/layers_{i}/mlp/fc1/kernel", "encoder.layers.{i}.ffn.gate_proj.weight", KERNEL),
    Row("trunk/layers_{i}/mlp/fc1/bias", "encoder.layers.{i}.ffn.gate_proj.bias"),
    Row("trunk/layers_{i}/mlp/fc3/kernel", "encoder.layers.{i}.ffn.up_proj.weight", KERNEL),
    Row("trunk/layers_{i}/mlp/fc3/bias", "encoder.layers.{i}.ffn.up_proj.bias"),
    Row("trunk/layers_{i}/mlp/fc2/kernel", "encoder.layers.{i}.ffn.down_proj.weight", KERNEL),
    Row("trunk/layers_{i}/mlp/fc2/bias", "encoder.layers.{i}.ffn.down_proj.bias"),
    Row("trunk/post_trunk_norm/scale", "rms_norm.weight"),
)
VISION = (
    Row("preprocessor/patchifier/proj/kernel", "embeddings.patch_embed.weight", CONVOLUTION),
    Row("preprocessor/patchifier/proj/bias", "embeddings.patch_embed.bias"),
    Row("preprocessor/patchifier/norm/scale", "embeddings.rms_norm.weight"),
    Row("preprocessor/pos_embed", "embeddings.position_embedding.weight", LEAD),
    *TRUNK,
    Row("head/k/kernel", "head.k_proj.weight", KERNEL),
    Row("head/k/bias", "head.k_proj.bias"),
    Row("head/v/kernel", "head.v_proj.weight", KERNEL),
    Row("head/v/bias", "head.v_proj.bias"),
    Row("head/cls_token", "head.cls_token"),
    Row("head/linear/kernel", "head.output_proj.weight", KERNEL),
    Row("head/linear/bias", "head.output_proj.bias"),
)
TEXT = (
    Row("preprocessor/text_embedding/embedding", "embeddings.token_embedding.weight"),
    Row("preprocessor/positional_embedding", "embeddings.position_embedding.weight"),
    *TRUNK,
)
BOTH = (
    Row("params/image_projector/kernel", "visual_projection.weight", KERNEL),
    Row("params/text_projector/kernel", "text_projection.weight", KERNEL),
    Row("params/log_logit_scale", "logit_scale"),
)

LAYOUT = Layout(
    name="flax",
    title="Apple Flax",
    file="flax_model.msgpack",
    metadata={},
    vision=VISION,
    text=TEXT,
    both=BOTH,
    prefixes={"": "params/", "vision_model.": "params/image_encoder/", "text_model.": "params/text_encoder/"},
    ignored=("batch_stats/",),
)
