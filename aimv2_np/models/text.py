"""The text tower: from token ids to one vector per token, and to one vector per text at its end-of-text token.

    ids -> token table + positions -> causal blocks -> RMSNorm -> last_hidden_state -> row of the end -> pooler_output

Apple trained it by locked-image tuning, Zhai et al. 2021 (arXiv:2111.07991).
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from aimv2_np.backends.arrays import move, namespace, to_numpy
from aimv2_np.config import Aimv2TextConfig
from aimv2_np.models.inputs import check_attention_mask, check_input_ids
from aimv2_np.models.outputs import BaseModelOutputWithPooling
from aimv2_np.models.pretrained import PretrainedModel, collecting
from aimv2_np.models.running import check_finite, running
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import Encoder, run_layers
from aimv2_np.network.masks import make_mask
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.tower import run_tower
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.module import Module
from aimv2_np.tree.tracing import record, tracing

LENGTHS = 8  # texts whose lengths are the same when rounded up to a multiple of this run together


@dataclass(repr=False, eq=False)
class TextEmbeddings(Module):
    """A learned vector per token of the vocabulary plus one per position. See docs/equations.md, (15)."""

    token_embedding: Embedding
    position_embedding: Embedding

    @classmethod
    def skeleton(cls, config: Aimv2TextConfig) -> Self:
        """Places for the arrays that `config` describes."""
        size, std = config.hidden_size, config.initializer_range
        return cls(
            token_embedding=Embedding.skeleton(config.vocab_size, size, std=std),
            position_embedding=Embedding.skeleton(config.max_position_embeddings, size, std=std),
        )

    def forward(self, ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        positions = self.position_embedding.weight[: ids.shape[1]]  # (T, D)
        record("position_embedding", positions)
        return self.token_embedding(ids) + positions


@dataclass(init=False, repr=False, eq=False)
class Aimv2TextModel(PretrainedModel):
    """AIMv2's text tower. Causal, as Apple trained it."""

    embeddings: TextEmbeddings
    encoder: Encoder
    rms_norm: RMSNorm

    config_class = Aimv2TextConfig

    def _build(self) -> None:
        self.embeddings = TextEmbeddings.skeleton(self.config)
        self.encoder = Encoder.skeleton(self.config)
        self.rms_norm = RMSNorm.skeleton(self.config.hidden_size, self.config.rms_norm_eps)

    def forward(
        self,
        input_ids: Int[Array, "B T"],
        attention_mask: Int[Array, "B T"] | None = None,
        *,
        causal: bool = True,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        return_dict: bool = True,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode texts.

        Args:
            input_ids: (B, T) integers, T at most `max_position_embeddings`.
            attention_mask: (B, T), 1 for a token and 0 for padding; None when there is no padding. What stands in
                padding never influences the tokens; the states at padding themselves mean nothing.
            causal: False lets every token look at later ones too. That is not how AIMv2 was trained; it reproduces
                what Transformers computes by default for texts of equal length (its sdpa attention drops a mask of
                all ones together with causality).
            output_hidden_states, output_attentions: also return what lies between.
            return_dict: False for a tuple.

        Raises:
            ValueError: ids outside the vocabulary, too many of them, or a mask that does not fit.
        """
        ids = check_input_ids(input_ids, self.config, self.rms_norm.weight)
        padding = check_attention_mask(attention_mask, ids)
        with collecting(
            self, len(self.encoder.layers), hidden_states=output_hidden_states, attentions=output_attentions
        ) as collected:
            compute = self.compute if causal else self.compute_both_ways
            x, pooled = run_tower(ids, compute, ids.size, padding)
        output = BaseModelOutputWithPooling(check_finite(self, x), pooled, **collected)
        return output if return_dict else output.to_tuple()

    def compute(
        self, ids: Int[Array, "B T"], padding: Int[Array, "B T"] | None, *, causal: bool = True
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
        """`last_hidden_state` and `pooler_output` of ids that have been checked."""
        mask = make_mask(namespace(ids), ids.shape[1], padding, causal=causal)
        x = self.rms_norm(self.encoder(self.embeddings(ids), mask))
        return x, self.pool(x, ids, padding)

    def compute_both_ways(
        self, ids: Int[Array, "B T"], padding: Int[Array, "B T"] | None
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
        """The same where every token may look at later ones too."""
        return self.compute(ids, padding, causal=False)

    def compute_features(self, ids: Int[Array, "B T"], padding: Int[Array, "B T"] | None) -> tuple[Float[Array, "B D"]]:
        """`pooler_output` alone: in the last block all tokens but the ends are keys and values only."""
        mask = make_mask(namespace(ids), ids.shape[1], padding, causal=True)
        *blocks, last = self.encoder.layers
        x = run_layers(self.embeddings(ids), blocks, mask)
        return (self.rms_norm(last.at(x, self.ends(ids, padding), mask)),)

    @running
    def features(
        self, input_ids: Int[Array, "B T"], attention_mask: Int[Array, "B T"] | None = None, *, causal: bool = True
    ) -> Float[Array, "B D"]:
        """`pooler_output` alone, without the work that cannot change it; arguments and errors as for `forward`.

        In a causal tower that is everything after the end of a text: texts of about one length go through the blocks
        together, without the rest; and in the last block it is most of what comes before the end, too. While somebody
        traces, nothing is left out.
        """
        ids = check_input_ids(input_ids, self.config, self.rms_norm.weight)
        padding = check_attention_mask(attention_mask, ids)
        if not causal or tracing():
            return self(ids, padding, causal=causal).pooler_output
        lengths = to_numpy(self.ends(ids, padding)) // LENGTHS * LENGTHS + LENGTHS  # (B,)
        pooled = namespace(ids).empty((len(ids), self.config.hidden_size), self.rms_norm.weight.dtype)
        for length in sorted(set(lengths.tolist())):
            rows = move(np.flatnonzero(lengths == length), self.backend)
            some = ids[rows, :length]
            mask = None if padding is None else padding[rows, :length]
            (pooled[rows],) = run_tower(some, self.compute_features, some.size, mask)
        return check_finite(self, pooled)

    def pool(
        self, x: Float[Array, "B T D"], ids: Int[Array, "B T"], padding: Int[Array, "B T"] | None = None
    ) -> Float[Array, "B D"]:
        """The state at the end of each text."""
        return x[namespace(ids).arange(ids.shape[0]), self.ends(ids, padding)]

    def ends(self, ids: Int[Array, "B T"], padding: Int[Array, "B T"] | None = None) -> Int[Array, "B"]:
        """Where each text ends: the position of its first end-of-text token, or 0 where there is none.

        Padding often is the same token. Where the text has one of its own, padding before it (on the left) is not
        mistaken for it, as it is in Transformers. See docs/equations.md, (17).
        """
        end = ids == self.config.eos_token_id  # (B, T)
        if padding is not None:
            own = end & (padding != 0)
            end = namespace(ids).where(own.any(axis=1, keepdims=True), own, end)
        return end.argmax(axis=1)
