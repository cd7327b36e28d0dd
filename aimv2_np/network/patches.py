"""Patch embedding: cut the image into P×P squares and map each, as one long vector, to D numbers.

    y_rc = W · vec(patch_rc) + b        W: (D, C, P, P), b: (D,)

Dosovitskiy et al. 2020, "An Image is Worth 16×16 Words" (arXiv:2010.11929), eq. 1. Checkpoints call it a convolution
with stride P; since the squares do not overlap it is one matrix product. Patches run row by row. Rows and columns of
pixels that do not fill a patch are dropped.
"""

from dataclasses import dataclass

from aimv2_np.backends.operation import operation
from aimv2_np.network.linear import linear
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module


@operation
def patch_embed(
    pixels: Float[Array, "B C height width"], weight: Float[Array, "D C ph pw"], bias: Float[Array, "D"]
) -> Float[Array, "B N D"]:
    """Project the ⌊height/ph⌋ · ⌊width/pw⌋ patches of each image. See docs/equations.md, (2)."""
    return linear(cut(pixels, *weight.shape[2:]), weight.reshape(weight.shape[0], -1), bias)


def cut(pixels: Float[Array, "B C height width"], ph: int, pw: int) -> Float[Array, "B N CPP"]:
    """The patches as vectors of P = C · ph · pw numbers."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // ph, width // pw
    patches = pixels[:, :, : rows * ph, : columns * pw].reshape(batch, channels, rows, ph, columns, pw)
    patches = patches.transpose(0, 2, 4, 1, 3, 5)  # (B, C, r, ph, c, pw) -> (B, r, c, C, ph, pw)
    return patches.reshape(batch, rows * columns, channels * ph * pw)


@dataclass(repr=False, eq=False)
class PatchEmbed(Module):
    """The patch projection with its weight (D, C, P, P) and bias (D,)."""

    weight: Float[Array, "D C ph pw"]
    bias: Float[Array, "D"]

    def forward(self, pixels: Float[Array, "B C height width"]) -> Float[Array, "B N D"]:
        return patch_embed(pixels, self.weight, self.bias)
