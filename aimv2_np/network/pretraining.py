"""AIMv2's pre-training: predict a picture patch by patch, and then its caption token by token.

    loss = text_weight · cross-entropy of the tokens + pixel_weight · mean square of the patches beyond the prefix

The encoder sees the first patches, the prefix, from both sides, and each later one together with those before it, so
that used afterwards, where all see all, is not new to it. Fini et al. 2024 (arXiv:2411.14402), sections 2.1 and 2.2;
El-Nouby et al. 2024 (arXiv:2401.08541), sections 3.2 and 3.3.
"""

from dataclasses import dataclass
from typing import NamedTuple

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.network.cross_entropy import cross_entropy
from aimv2_np.network.decoder import Decoder
from aimv2_np.network.patches import cut
from aimv2_np.network.view import EVERYONE, Prefix
from aimv2_np.network.vision import VisionTower
from aimv2_np.shapes import Array, Bool, Float, Int
from aimv2_np.tree.module import Module

EPS = 1e-6  # of a patch's variance


class PretrainingLoss(NamedTuple):
    """The weighted sum, and what it is the sum of."""

    loss: Float[Array, ""]
    text: Float[Array, ""]
    pixels: Float[Array, ""]


def pixel_targets(pixels: Float[Array, "B C height width"], ph: int, pw: int) -> Float[Array, "B N CPP"]:
    """Each patch minus its mean, over its standard deviation; its numbers by row, column, channel.

    See docs/equations.md, (34).
    """
    patches = cut(widen(pixels), ph, pw)  # (B, N, CPP) by channel, row, column
    batch, number, size = patches.shape
    patches = patches.reshape(batch, number, size // (ph * pw), ph * pw).swapaxes(2, 3).reshape(patches.shape)
    centred = patches - patches.mean(axis=-1, keepdims=True)
    variance = (centred * centred).sum(axis=-1, keepdims=True) / (size - 1)
    return centred / namespace(pixels).sqrt(variance + EPS)


def pixel_loss(
    predicted: Float[Array, "B M CPP"], targets: Float[Array, "B N CPP"], prefix: Int[Array, "B"]
) -> Float[Array, ""]:
    """Mean square error over all patches of the batch beyond the prefix; `predicted` begins with the second one.

    See docs/equations.md, (35).
    """
    xp = namespace(targets)
    error = widen(predicted) - targets[:, 1:]
    beyond = xp.arange(1, targets.shape[1]) >= prefix[:, None]  # (B, N-1)
    return mean_of((error * error).mean(axis=-1), beyond)


def text_loss(logits: Float[Array, "B T V"], ids: Int[Array, "B T"], keys: Bool[Array, "B T"]) -> Float[Array, ""]:
    """Mean cross-entropy over the tokens that are no padding. See docs/equations.md, (36)."""
    return mean_of(cross_entropy(logits, ids), keys)


def mean_of(values: Float[Array, "*shape"], counted: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """The mean of the values that count."""
    return (values * counted).sum() / counted.sum().astype(values.dtype)


@dataclass(repr=False, eq=False)
class Pretraining(Module):
    """A vision tower without pooling head, the decoder, and the weights of their losses.

    See docs/equations.md, (37).
    """

    vision_model: VisionTower
    decoder: Decoder
    text_weight: float
    pixel_weight: float

    def forward(
        self,
        pixels: Float[Array, "B C height width"],
        ids: Int[Array, "B T"],
        keys: Bool[Array, "B T"],
        prefix: Int[Array, "B"] | None,
    ) -> PretrainingLoss:
        """The loss of pictures and captions; `prefix` holds how many patches of each the encoder sees from both sides.

        Without one all patches see all, and of a patch that was seen nothing is left to predict: the pixels' loss is
        then for looking at alone, and `pixel_weight` should be 0.
        """
        weight, view = self.vision_model.embeddings.patch_embed.weight, EVERYONE if prefix is None else Prefix(prefix)
        features = self.vision_model(pixels.astype(weight.dtype, copy=False), view).last_hidden_state
        predicted = self.decoder(features, ids)
        targets = pixel_targets(pixels, *weight.shape[2:])
        beyond = namespace(ids).ones(len(ids), ids.dtype) if prefix is None else prefix
        text, patches = text_loss(predicted.logits, ids, keys), pixel_loss(predicted.patches, targets, beyond)
        return PretrainingLoss(self.text_weight * text + self.pixel_weight * patches, text, patches)
