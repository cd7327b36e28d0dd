"""The decoder that AIMv2 is pre-trained with: one causal trunk over a picture's patches and the tokens of its caption.

    connector(patches), start, tokens + positions -> causal layers -> RMSNorm -> the next patch, or the next token

What the vision tower makes of a patch is all that the decoder gets of it; no positions are added to it again. In front
of the tokens stands a learned start, whose output predicts the first of them. Fini et al. 2024 (arXiv:2411.14402),
section 2.1. Encoders are used without it.
"""

from dataclasses import dataclass
from typing import NamedTuple

from aimv2_np.backends.arrays import namespace
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.linear import Linear
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.view import CAUSAL
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.module import Module


class Predicted(NamedTuple):
    """What is said of the patches from the second on, as numbers of their pixels, and of all tokens, as logits."""

    patches: Float[Array, "B _ CPP"]
    logits: Float[Array, "B T V"]


@dataclass(repr=False, eq=False)
class CaptionEmbeddings(Module):
    """A learned start, then a learned vector per token, plus one per position. See docs/equations.md, (33)."""

    start_token: Float[Array, "1 1 D"]
    token_embedding: Embedding
    position_embedding: Embedding

    def forward(self, ids: Int[Array, "B T"]) -> Float[Array, "B _ D"]:
        xp = namespace(self.start_token)
        start = xp.broadcast_to(self.start_token, (len(ids), 1, self.start_token.shape[2]))
        x = xp.concatenate([start, self.token_embedding(ids)], axis=1)
        return x + self.position_embedding.weight[: x.shape[1]]


@dataclass(repr=False, eq=False)
class Decoder(Module):
    """The multimodal decoder, with a head for pixels and one for words. See docs/equations.md, (33)."""

    connector: Linear
    embeddings: CaptionEmbeddings
    layers: list[EncoderLayer]
    rms_norm: RMSNorm
    pixel_head: Linear
    text_head: Linear

    def forward(self, features: Float[Array, "B N D"], ids: Int[Array, "B T"]) -> Predicted:
        x = namespace(features).concatenate([self.connector(features), self.embeddings(ids)], axis=1)
        x = self.rms_norm(run_layers(x, self.layers, CAUSAL))
        patches = features.shape[1]
        # The last patch's output predicts nothing, nor does the last token's.
        return Predicted(self.pixel_head(x[:, : patches - 1]), self.text_head(x[:, patches:-1]))
