"""Patch embedding: cut the picture into P×P squares and map each, as one long vector, to D numbers.

    y_rc = W · vec(patch_rc) + b        W: (D, C, P, P), b: (D,)

Dosovitskiy et al. 2020, "An Image is Worth 16×16 Words" (arXiv:2010.11929), eq. 1. Checkpoints call it a convolution
with stride P; since the squares do not overlap it is one matrix product. Patches run row by row. Rows and columns of
pixels that do not fill a patch are dropped.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.operation import operation
from aimv2_np.network.linear import linear
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module, Parameter


@operation
def patch_embed(
    pixels: Float[Array, "B C height width"], weight: Float[Array, "D C ph pw"], bias: Float[Array, "D"]
) -> Float[Array, "B N D"]:
    """Project the ⌊height/ph⌋ · ⌊width/pw⌋ patches of each picture. See docs/equations.md, (2)."""
    return linear(cut(pixels, *weight.shape[2:]), weight.reshape(weight.shape[0], -1), bias)


def cut(pixels: Float[Array, "B C height width"], ph: int, pw: int) -> Float[Array, "B N P"]:
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

    @classmethod
    def skeleton(cls, channels: int, size: int, patch: tuple[int, int], *, std: float) -> "PatchEmbed":
        """Places for the arrays: weight from normal(0, std²), bias zero."""
        return cls(Parameter((size, channels, *patch), std=std), Parameter((size,)))

    def forward(self, pixels: Float[Array, "B C height width"] | list[Float[Array, "C _ _"]]) -> Float[Array, "_ N D"]:
        """A list of pictures of any size becomes a pack (1, T, D): the patches of one follow those of another."""
        if not isinstance(pixels, list):
            return patch_embed(pixels, self.weight, self.bias)
        patches = [cut(picture[None], *self.weight.shape[2:]) for picture in pixels]
        together = namespace(self.weight).concatenate(patches, axis=1)
        return linear(together, self.weight.reshape(self.weight.shape[0], -1), self.bias)
