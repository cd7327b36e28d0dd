"""The vision tower: from pixels to one vector per patch, and with the pooling head to one vector per picture.

    pixels -> patches -> RMSNorm -> + positions -> blocks -> RMSNorm -> last_hidden_state -> head -> pooler_output

Fini et al. 2024, "Multimodal Autoregressive Pre-training of Large Vision Encoders" (arXiv:2411.14402), section 2.
"""

from dataclasses import dataclass
from typing import Any, Self

from aimv2_np.arrays import namespace
from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.layers.embedding import Embedding
from aimv2_np.layers.encoder import Encoder
from aimv2_np.layers.patch_embedding import PatchEmbed
from aimv2_np.layers.pooling_head import AttentionPoolingHead
from aimv2_np.layers.positions import interpolate_positions, sincos_positions
from aimv2_np.layers.rms_norm import RMSNorm
from aimv2_np.layers.tower import run_tower
from aimv2_np.models.inputs import check_pixel_values
from aimv2_np.models.outputs import BaseModelOutputWithPooling
from aimv2_np.models.pretrained import PretrainedModel, collecting
from aimv2_np.models.running import check_finite
from aimv2_np.module import Module
from aimv2_np.shapes import Array, Float
from aimv2_np.tracing import record


@dataclass(repr=False, eq=False)
class VisionEmbeddings(Module):
    """Embedded patches, normalised, plus positions: learned for `grid`, or sine-cosine when there is no table."""

    patch_embed: PatchEmbed
    rms_norm: RMSNorm
    position_embedding: Embedding | None
    grid: tuple[int, int]

    @classmethod
    def skeleton(cls, config: Aimv2VisionConfig) -> Self:
        """Places for the arrays that `config` describes."""
        size, std = config.hidden_size, config.initializer_range
        rows, columns = config.grid
        return cls(
            patch_embed=PatchEmbed.skeleton(config.num_channels, size, config.patch_shape, std=std),
            rms_norm=RMSNorm.skeleton(size, config.rms_norm_eps),
            position_embedding=None if config.is_native else Embedding.skeleton(rows * columns, size, std=std),
            grid=config.grid,
        )

    def forward(self, pixels: Float[Array, "B C height width"]) -> Float[Array, "B N D"]:
        x = self.rms_norm(self.patch_embed(pixels))
        ph, pw = self.patch_embed.weight.shape[2:]
        positions = self.positions((pixels.shape[2] // ph, pixels.shape[3] // pw)).astype(x.dtype, copy=False)
        record("position_embedding", positions)
        return x + positions

    def positions(self, grid: tuple[int, int]) -> Float[Array, "N D"]:
        """The positions of a grid (rows, columns) of patches."""
        if self.position_embedding is None:
            weight = self.rms_norm.weight
            return sincos_positions(namespace(weight), *grid, weight.shape[0])
        return interpolate_positions(self.position_embedding.weight, self.grid, grid)


@dataclass(init=False, repr=False, eq=False)
class Aimv2VisionModel(PretrainedModel):
    """AIMv2's vision tower."""

    embeddings: VisionEmbeddings
    encoder: Encoder
    rms_norm: RMSNorm
    head: AttentionPoolingHead | None

    config_class = Aimv2VisionConfig

    def _build(self) -> None:
        config: Aimv2VisionConfig = self.config
        self.embeddings = VisionEmbeddings.skeleton(config)
        self.encoder = Encoder.skeleton(config)
        self.rms_norm = RMSNorm.skeleton(config.hidden_size, config.rms_norm_eps)
        self.head = AttentionPoolingHead.skeleton(config) if config.use_head else None

    def forward(
        self,
        pixel_values: Float[Array, "B C height width"],
        *,
        interpolate_pos_encoding: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        return_dict: bool = True,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode pictures.

        Args:
            pixel_values: (B, C, height, width), normalised floats. Pixels beyond the last whole patch are not seen.
            interpolate_pos_encoding: stretch learned positions to another grid than they were trained for. Native
                models take any grid anyway.
            output_hidden_states, output_attentions: also return what lies between.
            return_dict: False for a tuple.

        Raises:
            ValueError: pictures of another rank, channel count, dtype or grid, or with NaN.
        """
        like = self.rms_norm.weight
        pixels = check_pixel_values(pixel_values, self.config, like, interpolate=interpolate_pos_encoding)
        with collecting(
            self, len(self.encoder.layers), hidden_states=output_hidden_states, attentions=output_attentions
        ) as collected:
            ph, pw = self.config.patch_shape
            tokens = pixels.shape[0] * (pixels.shape[2] // ph) * (pixels.shape[3] // pw)
            x, pooled = run_tower(pixels, self.compute, tokens)
        for result in (x, pooled):
            if result is not None:
                check_finite(self, result)
        output = BaseModelOutputWithPooling(x, pooled, **collected)
        return output if return_dict else output.to_tuple()

    def compute(
        self, pixels: Float[Array, "B C height width"]
    ) -> tuple[Float[Array, "B N D"], Float[Array, "B D"] | None]:
        """`last_hidden_state` and `pooler_output` of pixels that have been checked."""
        x = self.rms_norm(self.encoder(self.embeddings(pixels)))
        return x, self.head(x) if self.head else None
