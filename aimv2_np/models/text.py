"""The text model: ids are checked, go through the text tower of `network`, and come out as outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import move, namespace, to_numpy
from aimv2_np.config import Aimv2TextConfig
from aimv2_np.models import skeleton
from aimv2_np.models.inputs import check_attention_mask, check_ends, check_input_ids
from aimv2_np.models.outputs import BaseModelOutputWithPooling
from aimv2_np.models.pretrained import NetworkPart, PretrainedModel, collecting
from aimv2_np.models.running import check_finite, running
from aimv2_np.network.encoder import Encoder
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.text import TextEmbeddings, TextTower, text_vectors
from aimv2_np.network.view import CAUSAL, EVERYONE, Padded, View
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.recorder import recording

LENGTHS = 8  # texts whose lengths are the same when rounded up to a multiple of this run together


@dataclass(init=False, repr=False, eq=False)
class Aimv2TextModel(PretrainedModel[Aimv2TextConfig, TextTower, BaseModelOutputWithPooling]):
    """AIMv2's text tower. Causal, as Apple trained it."""

    config_class = Aimv2TextConfig
    embeddings = NetworkPart[TextEmbeddings]()
    encoder = NetworkPart[Encoder]()
    rms_norm = NetworkPart[RMSNorm]()

    @classmethod
    def _skeleton(cls, config: Aimv2TextConfig) -> TextTower:
        return skeleton.text_tower(config)

    def forward(
        self,
        input_ids: Int[Array, "B T"],
        attention_mask: Int[Array, "B T"] | None = None,
        *,
        causal: bool = True,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Encode texts.

        Args:
            input_ids: (B, T) integers, T at most `max_position_embeddings`.
            attention_mask: (B, T), 1 for a token and 0 for padding; None when there is no padding. What stands in
                padding never influences the tokens; the states at padding themselves mean nothing.
            causal: False lets every token look at later ones too. That is not how AIMv2 was trained; it reproduces
                what Transformers computes by default for texts of equal length (its sdpa attention drops a mask of
                all ones together with causality).
            output_hidden_states, output_attentions: also return these arrays of every layer.

        A MissingEndWarning names the rows of texts without an end-of-text token: their vector is another
        token's vector, often the first one's, which is the same for all texts.

        Raises:
            ValueError: ids outside the vocabulary, too many of them, or a mask that does not fit.
        """
        ids, view = self.check(input_ids, attention_mask, causal=causal)
        with collecting(self.network, output_hidden_states, output_attentions) as collected:
            x, pooled = self.network(ids, view)
        check_finite(self, x)
        return BaseModelOutputWithPooling(x, pooled, **collected)

    def check(self, input_ids: Any, attention_mask: Any, *, causal: bool) -> tuple[Int[Array, "B T"], View]:
        """The ids as an array on the model's device, and the view; ValueError for ids or a mask that do not fit."""
        ids = check_input_ids(input_ids, self.config, self.rms_norm.weight)
        mask = check_attention_mask(attention_mask, ids.shape, ids)
        check_ends(ids, mask, self.config)
        view = CAUSAL if causal else EVERYONE
        return ids, view if mask is None else view & Padded(mask)

    @running
    def features(
        self, input_ids: Int[Array, "B T"], attention_mask: Int[Array, "B T"] | None = None, *, causal: bool = True
    ) -> Float[Array, "B D"]:
        """`pooler_output` alone, without the work that cannot change it; arguments and errors as for `forward`.

        In a causal tower that is everything after the end of a text: texts of about one length go through the layers
        together, without the rest; and in the last layer it is most of what comes before the end, too. Within `trace`
        nothing is left out.
        """
        ids, view = self.check(input_ids, attention_mask, causal=causal)
        if not causal or recording():
            return check_finite(self, text_vectors(ids, self.network, view))
        lengths = to_numpy(self.network.ends(ids, view)) // LENGTHS * LENGTHS + LENGTHS  # (B,)
        pooled, places = [], []
        for length in sorted(set(lengths.tolist())) or [0]:
            rows = np.flatnonzero(lengths == length)
            places.append(rows)
            rows = move(rows, self.backend)
            some = CAUSAL if view.padding is None else CAUSAL & Padded(view.padding[rows, :length])
            pooled.append(text_vectors(ids[rows, :length], self.network, some))
        order = move(np.argsort(np.concatenate(places)), self.backend)
        return check_finite(self, namespace(pooled[0]).concatenate(pooled)[order])
