"""The text tower: from token ids to one vector per token, and to one vector per text at its end-of-text token.

    ids -> token table + positions -> causal layers -> RMSNorm -> last_hidden_state -> row of the end -> pooler_output

Apple trained it by locked-image tuning, Zhai et al. 2021 (arXiv:2111.07991).
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.operation import composite
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import Encoder
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.view import CAUSAL, View
from aimv2_np.network.vision import TowerOutput
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe


@dataclass(repr=False, eq=False)
class TextEmbeddings(Module):
    """A learned vector per token of the vocabulary plus one per position. See docs/equations.md, (15)."""

    token_embedding: Embedding
    position_embedding: Embedding

    def forward(self, ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        positions = self.position_embedding.weight[: ids.shape[1]]  # (T, D)
        observe("position_embedding", positions)
        return self.token_embedding(ids) + positions


@composite
def text_tower(ids: Int[Array, "B T"], tower: "TextTower", view: View) -> TowerOutput:
    """Embed the tokens, then layers and norm; the end of each text stands for it. See docs/equations.md, (17)."""
    x = tower.rms_norm(tower.encoder(tower.embeddings(ids), view))
    return TowerOutput(x, x[namespace(ids).arange(ids.shape[0]), tower.ends(ids, view)])


@composite
def text_vectors(ids: Int[Array, "B T"], tower: "TextTower", view: View) -> Float[Array, "B D"]:
    """`pooler_output` alone, which faster bodies compute without what cannot change it.

    See docs/equations.md, (17).
    """
    return tower(ids, view).pooler_output


@dataclass(repr=False, eq=False)
class TextTower(Module):
    """AIMv2's text tower; `eos_token_id` is the token that ends a text."""

    embeddings: TextEmbeddings
    encoder: Encoder
    rms_norm: RMSNorm
    eos_token_id: int

    def forward(self, ids: Int[Array, "B T"], view: View = CAUSAL) -> TowerOutput:
        return text_tower(ids, self, view)

    def ends(self, ids: Int[Array, "B T"], view: View = CAUSAL) -> Int[Array, "B"]:
        """Where each text ends: the position of its first end-of-text token, or 0 where there is none.

        Padding often is the same token. Where the text has one of its own, padding before it (on the left) is not
        mistaken for it, as it is in Transformers. See docs/equations.md, (17).
        """
        end = ids == self.eos_token_id  # (B, T)
        if view.padding is not None:
            own = end & (view.padding != 0)
            end = namespace(ids).where(own.any(axis=1, keepdims=True), own, end)
        return end.argmax(axis=1)
