"""The vision tower: from pixels to one vector per patch, and with the pooling head to one vector per image.

    pixels -> patches -> RMSNorm -> + positions -> layers -> RMSNorm -> last_hidden_state -> head -> pooler_output

Fini et al. 2024, "Multimodal Autoregressive Pre-training of Large Vision Encoders" (arXiv:2411.14402), section 2.
"""

from dataclasses import dataclass
from typing import NamedTuple

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.operation import composite
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import Encoder
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.positions import interpolate_positions, sincos_positions
from aimv2_np.network.rms_norm import Identity, RMSNorm
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe


class TowerOutput(NamedTuple):
    """What a tower computes: a vector per token, and one per image or text (None without a pooling head)."""

    last_hidden_state: Float[Array, "B N D"]
    pooler_output: Float[Array, "B D"] | None


@dataclass(repr=False, eq=False)
class VisionEmbeddings(Module):
    """Embedded patches, normalised, plus positions: learned for `grid`, or sine-cosine when there is no table.

    See docs/equations.md, (6).
    """

    patch_embed: PatchEmbed
    rms_norm: RMSNorm
    position_embedding: Embedding | None
    grid: tuple[int, int]

    def forward(self, pixels: Float[Array, "B C height width"]) -> Float[Array, "B N D"]:
        x = self.rms_norm(self.patch_embed(pixels))
        positions = self.positions(self.grid_of(pixels)).astype(x.dtype, copy=False)
        observe("position_embedding", positions)
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


@composite
def vision_tower(pixels: Float[Array, "B C height width"], tower: "VisionTower", view: View) -> TowerOutput:
    """Embed the patches, then `encode` them. See docs/equations.md, (13)."""
    return tower.encode(tower.embeddings(pixels), view)


@dataclass(repr=False, eq=False)
class VisionTower(Module):
    """AIMv2's vision tower. See docs/equations.md, (13)."""

    embeddings: VisionEmbeddings
    encoder: Encoder
    rms_norm: RMSNorm | Identity
    head: AttentionPoolingHead | None

    def forward(self, pixels: Float[Array, "B C height width"], view: View = EVERYONE) -> TowerOutput:
        return vision_tower(pixels, self, view)

    def encode(self, x: Float[Array, "_ N D"], view: View = EVERYONE) -> TowerOutput:
        """Layers, norm and head on embedded patches; of a pack, whose view is `Packed`, a row holds several images."""
        x = self.rms_norm(self.encoder(x, view))
        return TowerOutput(x, self.head(x, view) if self.head else None)
