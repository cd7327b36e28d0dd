"""The vision tower: from pixels to one vector per patch, and with the pooling head to one vector per picture.

    pixels -> patches -> RMSNorm -> + positions -> blocks -> RMSNorm -> last_hidden_state -> head -> pooler_output

Fini et al. 2024, "Multimodal Autoregressive Pre-training of Large Vision Encoders" (arXiv:2411.14402), section 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from aimv2_np.backends.arrays import namespace
from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.models.features import Features, extract_features
from aimv2_np.models.inputs import check_patch_mask, check_pixel_values
from aimv2_np.models.outputs import BaseModelOutputWithPooling, PackedOutput
from aimv2_np.models.packing import MAX_TOKENS, check_pictures, is_pack, packs, warn_untrained
from aimv2_np.models.pretrained import PretrainedModel, collecting
from aimv2_np.models.running import check_finite, running
from aimv2_np.models.windows import extract_windows
from aimv2_np.network.attention import runs
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import Encoder
from aimv2_np.network.masks import make_mask
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.positions import interpolate_positions, sincos_positions
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.tower import run_tower
from aimv2_np.shapes import Array, Bool, Float, Int
from aimv2_np.tree.module import Module
from aimv2_np.tree.tracing import call, record, tracing


@dataclass(repr=False, eq=False)
class VisionEmbeddings(Module):
    """Embedded patches, normalised, plus positions: learned for `grid`, or sine-cosine when there is no table.

    See docs/equations.md, (6).
    """

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

    def forward(self, pixels: Float[Array, "B C height width"] | list[Float[Array, "C _ _"]]) -> Float[Array, "_ N D"]:
        """A list of pictures of any size becomes a pack (1, T, D): the patches of one follow those of another."""
        x = self.rms_norm(self.patch_embed(pixels))
        grids = [self.grid_of(it) for it in pixels] if isinstance(pixels, list) else [self.grid_of(pixels)]
        of = {grid: self.positions(grid).astype(x.dtype, copy=False) for grid in dict.fromkeys(grids)}
        positions = of[grids[0]] if len(grids) == 1 else namespace(x).concatenate([of[grid] for grid in grids])
        record("position_embedding", positions)
        return x + positions

    def grid_of(self, pixels: Float[Array, "*batch C height width"]) -> tuple[int, int]:
        """Rows and columns of whole patches."""
        ph, pw = self.patch_embed.weight.shape[2:]
        return pixels.shape[-2] // ph, pixels.shape[-1] // pw

    def positions(self, grid: tuple[int, int]) -> Float[Array, "N D"]:
        """The positions of a grid (rows, columns) of patches."""
        if self.position_embedding is None:
            weight = self.rms_norm.weight
            return sincos_positions(namespace(weight), *grid, weight.shape[0])
        return interpolate_positions(self.position_embedding.weight, self.grid, grid)


@dataclass(init=False, repr=False, eq=False)
class Aimv2VisionModel(PretrainedModel):
    """AIMv2's vision tower. See docs/equations.md, (13)."""

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
        pixel_values: Float[Array, "B C height width"] | list[Float[Array, "C _ _"]],
        *,
        attention_mask: Int[Array, "B N"] | None = None,
        interpolate_pos_encoding: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        return_dict: bool = True,
    ) -> BaseModelOutputWithPooling | PackedOutput | tuple[Any, ...]:
        """Encode pictures.

        Args:
            pixel_values: (B, C, height, width), normalised floats. Pixels beyond the last whole patch are not seen.
                Or a list of pictures (C, height, width) of different sizes, which `encode_images` then takes.
            attention_mask: (B, N), 1 for a patch and 0 for padding, which no patch and no pooling head looks at; what
                stands in the rows of padding means nothing.
            interpolate_pos_encoding: stretch learned positions to another grid than they were trained for. Native
                models take any grid anyway.
            output_hidden_states, output_attentions: also return what lies between.
            return_dict: False for a tuple.

        Raises:
            ValueError: pictures of another rank, channel count, dtype or grid, or with NaN.
        """
        if is_pack(pixel_values):
            if attention_mask is not None or output_hidden_states or output_attentions:
                raise ValueError(
                    "attention_mask, output_hidden_states and output_attentions are of pictures of one size, and "
                    "pixel_values holds several; pass them one at a time, or pad them to one size"
                )
            packed = self._encode(pixel_values, MAX_TOKENS, interpolate_pos_encoding, True)
            return packed if return_dict else packed.to_tuple()
        like = self.rms_norm.weight
        pixels = check_pixel_values(pixel_values, self.config, like, interpolate=interpolate_pos_encoding)
        grid = self.embeddings.grid_of(pixels)
        padding = check_patch_mask(attention_mask, len(pixels), grid, like)
        mask = make_mask(namespace(like), grid[0] * grid[1], padding, causal=False)
        with collecting(
            self, len(self.encoder.layers), hidden_states=output_hidden_states, attentions=output_attentions
        ) as collected:
            x, pooled = run_tower(pixels, self.compute, len(pixels) * grid[0] * grid[1], mask)
        for result in (x, pooled):
            if result is not None:
                check_finite(self, result)
        output = BaseModelOutputWithPooling(x, pooled, **collected, grid=grid)
        return output if return_dict else output.to_tuple()

    def compute(
        self, pixels: Float[Array, "B C height width"], mask: Bool[Array, "#B 1 1 N"] | None = None
    ) -> tuple[Float[Array, "B N D"], Float[Array, "B D"] | None]:
        """`last_hidden_state` and `pooler_output` of pixels that have been checked."""
        x = self.rms_norm(self.encoder(self.embeddings(pixels), mask))
        return x, self.head(x, mask) if self.head else None

    @running
    def encode_images(
        self,
        images: Sequence[Float[Array, "C _ _"]] | Float[Array, "B C height width"],
        *,
        max_tokens: int | None = MAX_TOKENS,
        interpolate_pos_encoding: bool = False,
        warn: bool = True,
    ) -> PackedOutput:
        """Encode pictures of any mix of sizes, without padding: the patches of many go through the layers as one block
        of rows, and each picture attends to itself. Each comes out as it would alone, to rounding.

        Args:
            images: B arrays (C, height, width), normalised floats, as `Aimv2ImageProcessor` makes them.
            max_tokens: how many patches go through together, which bounds the memory; a picture that has more goes
                alone. None: all of them.
            interpolate_pos_encoding: as for `forward`.
            warn: of pictures with fewer or more patches than a native model was trained for (112 to 4096).

        Raises:
            ValueError: no picture; one of another channel count, dtype or grid, or with NaN: it is named by its number.
        """
        return call(self, (images, max_tokens, interpolate_pos_encoding, warn), {}, self._encode)  # type: ignore[no-any-return]

    @running
    def extract_features(
        self,
        pixel_values: Float[Array, "B C height width"] | list[Float[Array, "C _ _"]],
        layers: Sequence[int] = (-1,),
        *,
        features: str = "tokens",
        norm: bool = True,
        attention_mask: Int[Array, "B N"] | None = None,
        interpolate_pos_encoding: bool = False,
        max_tokens: int | None = MAX_TOKENS,
    ) -> Features:
        """Features of one layer or several; no other layer's states are kept.

        Args:
            pixel_values: as for `forward`; a list of pictures of any sizes goes through packed.
            layers: numbers as in `hidden_states`: 0 are the embeddings, -1 is the last block's output.
            features: "tokens", one vector per patch; "mean", their mean; "head", the pooling head's vector, which was
                trained for the last layer alone.
            norm: apply the tower's last norm to every layer; layer -1 is then `last_hidden_state`. Without it they are
                what `hidden_states` holds.
            attention_mask, interpolate_pos_encoding: as for `forward`; "mean" leaves padding out.
            max_tokens: as for `encode_images`.

        Raises:
            ValueError: layers or features that there are not; and as `forward`.
        """
        return extract_features(
            self, pixel_values, layers, features, norm, attention_mask, interpolate_pos_encoding, max_tokens
        )

    @running
    def extract_windows(
        self,
        pixel_values: Float[Array, "B C height width"],
        layers: Sequence[int] = (-1,),
        *,
        window: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        norm: bool = True,
        max_tokens: int | None = MAX_TOKENS,
    ) -> Features:
        """Features of the patches of pictures larger than the model's grid, through windows of its size.

        Every patch's vector is the mean over all windows that it lies in; where one window holds the picture, the
        result is `extract_features`'s.

        Args:
            pixel_values: (B, C, height, width), at least as large as a window.
            layers, norm: as for `extract_features`.
            window: rows and columns of patches, or one number for both; None: the grid of the configuration's
                `image_size`. A model with learned positions takes no other; a native one cuts windows to the picture.
            stride: patches from one window to the next; None: half a window.
            max_tokens: of windows that go through together.

        Raises:
            ValueError: a window or stride that does not fit, pictures smaller than it; and as `forward`.
        """
        return extract_windows(self, pixel_values, layers, window, stride, norm, max_tokens)

    def _encode(self, images: Any, max_tokens: int | None, interpolate: bool, warn: bool) -> PackedOutput:
        pictures = check_pictures(images, self.config, self.rms_norm.weight, interpolate=interpolate)
        grids = tuple(self.embeddings.grid_of(picture) for picture in pictures)
        lengths = tuple(rows * columns for rows, columns in grids)
        if warn:
            warn_untrained(lengths, self.config, stacklevel=6)
        tokens: list[Array] = []
        pooled: list[Array] = []
        for pack in packs(lengths, None if tracing() else max_tokens):  # a trace keeps one output of each module
            x = self.encoder(self.embeddings(pictures[pack]), None, lengths[pack])
            x = check_finite(self, self.rms_norm(x))
            tokens += [x[0, run] for run in runs(lengths[pack])]
            if self.head:
                pooled.append(check_finite(self, self.head(x, None, lengths[pack])))
        return PackedOutput(tokens, namespace(x).concatenate(pooled) if pooled else None, grid=grids)
