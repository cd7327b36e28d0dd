"""From a configuration to the network that it describes, with a `Parameter` in the place of every array."""

from dataclasses import replace

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.network.aimv2 import Aimv2
from aimv2_np.network.attention import Attention
from aimv2_np.network.decoder import CaptionEmbeddings, Decoder
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import Encoder, EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.pretraining import Pretraining
from aimv2_np.network.rms_norm import Identity, RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.network.text import TextEmbeddings, TextTower
from aimv2_np.network.vision import VisionEmbeddings, VisionTower
from aimv2_np.tree.module import Parameter


def linear(inputs: int, outputs: int, *, bias: bool, std: float) -> Linear:
    """A map (inputs → outputs): weight from normal(0, std²), bias zero."""
    return Linear(Parameter((outputs, inputs), std=std), Parameter((outputs,)) if bias else None)


def embedding(rows: int, size: int, std: float) -> Embedding:
    """A table from normal(0, std²)."""
    return Embedding(Parameter((rows, size), std=std))


def rms_norm(config: Aimv2VisionConfig | Aimv2TextConfig) -> RMSNorm:
    """A norm whose gain starts at one."""
    return RMSNorm(Parameter((config.hidden_size,), fill=1.0), config.rms_norm_eps)


def encoder(config: Aimv2VisionConfig | Aimv2TextConfig) -> Encoder:
    """All layers of a tower."""
    size, inner, std = config.hidden_size, config.intermediate_size, config.initializer_range

    def square() -> Linear:
        return linear(size, size, bias=config.qkv_bias, std=std)

    def layer() -> EncoderLayer:
        return EncoderLayer(
            rms_norm1=rms_norm(config),
            attention=Attention(square(), square(), square(), square(), config.num_attention_heads),
            rms_norm2=rms_norm(config),
            ffn=SwiGLU(
                gate_proj=linear(size, inner, bias=config.mlp_bias, std=std),
                up_proj=linear(size, inner, bias=config.mlp_bias, std=std),
                down_proj=linear(inner, size, bias=config.mlp_bias, std=std),
                hidden_act=config.hidden_act,
            ),
        )

    return Encoder([layer() for _ in range(config.num_hidden_layers)])


def pooling_head(config: Aimv2VisionConfig) -> AttentionPoolingHead:
    """`output_proj` has a bias whatever `qkv_bias` says of the other two."""
    size, std = config.hidden_size, config.initializer_range
    return AttentionPoolingHead(
        k_proj=linear(size, size, bias=config.qkv_bias, std=std),
        v_proj=linear(size, size, bias=config.qkv_bias, std=std),
        cls_token=Parameter((1, 1, size), std=std),
        output_proj=linear(size, size, bias=True, std=std),
        heads=config.num_attention_heads,
    )


def vision_tower(config: Aimv2VisionConfig) -> VisionTower:
    """The vision tower."""
    size, std, (rows, columns) = config.hidden_size, config.initializer_range, config.grid
    patch = Parameter((size, config.num_channels, *config.patch_shape), std=std)
    return VisionTower(
        embeddings=VisionEmbeddings(
            patch_embed=PatchEmbed(patch, Parameter((size,))),
            rms_norm=rms_norm(config),
            position_embedding=None if config.is_native else embedding(rows * columns, size, std),
            grid=config.grid,
        ),
        encoder=encoder(config),
        rms_norm=rms_norm(config) if config.final_norm else Identity(),
        head=pooling_head(config) if config.use_head else None,
    )


def text_tower(config: Aimv2TextConfig) -> TextTower:
    """The text tower."""
    size, std = config.hidden_size, config.initializer_range
    return TextTower(
        embeddings=TextEmbeddings(
            token_embedding=embedding(config.vocab_size, size, std),
            position_embedding=embedding(config.max_position_embeddings, size, std),
        ),
        encoder=encoder(config),
        rms_norm=rms_norm(config),
        eos_token_id=config.eos_token_id,
    )


def aimv2(config: Aimv2Config) -> Aimv2:
    """Both towers. ValueError where the vision tower has no pooling head, whose vectors are compared."""
    vision, text = config.vision_config, config.text_config
    if not vision.use_head:
        raise ValueError(
            "vision_config.use_head is False, but the two-tower model compares the pooling head's vectors; "
            "set it to True, or use Aimv2VisionModel"
        )
    size = config.projection_dim
    return Aimv2(
        vision_model=vision_tower(vision),
        text_model=text_tower(text),
        visual_projection=linear(vision.hidden_size, size, bias=False, std=vision.initializer_range),
        text_projection=linear(text.hidden_size, size, bias=False, std=text.initializer_range),
        logit_scale=Parameter((), fill=config.logit_scale_init_value),
        max_logit_scale=config.max_logit_scale,
    )


def decoder(vision: Aimv2VisionConfig, config: Aimv2TextConfig) -> Decoder:
    """The decoder of pre-training: vocabulary, positions and trunk of `config`, and one position for the start."""
    size, std = config.hidden_size, config.initializer_range
    pixels = vision.num_channels * vision.patch_shape[0] * vision.patch_shape[1]
    return Decoder(
        connector=linear(vision.hidden_size, size, bias=True, std=std),
        embeddings=CaptionEmbeddings(
            start_token=Parameter((1, 1, size), std=std),
            token_embedding=embedding(config.vocab_size, size, std),
            position_embedding=embedding(config.max_position_embeddings + 1, size, std),
        ),
        layers=encoder(config).layers,
        rms_norm=rms_norm(config),
        pixel_head=linear(size, pixels, bias=False, std=std),
        text_head=linear(size, config.vocab_size, bias=False, std=std),
    )


def pretraining(
    vision: Aimv2VisionConfig, text: Aimv2TextConfig, text_weight: float = 1.0, pixel_weight: float = 0.4
) -> Pretraining:
    """A vision tower without its pooling head, and the decoder that it is trained with."""
    tower = vision_tower(replace(vision, use_head=False))
    return Pretraining(tower, decoder(vision, text), text_weight, pixel_weight)
