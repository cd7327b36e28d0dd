"""Embedding: row number i of a table of learned vectors."""

from dataclasses import dataclass

from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.module import Module


@dataclass(repr=False, eq=False)
class Embedding(Module):
    """A table `weight` (V, D), looked up by index."""

    weight: Float[Array, "V D"]

    def forward(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        return self.weight[ids]
