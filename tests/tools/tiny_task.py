"""Both towers of the tiny model, trained on what is known to be true of its pictures."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2Processor, Aimv2VisionModel
from aimv2_np.backends.arrays import namespace
from aimv2_np.data.drawing import draw
from aimv2_np.data.grammar import forget, paraphrase
from aimv2_np.data.world import Scene
from aimv2_np.network.aimv2 import Aimv2
from aimv2_np.network.view import CAUSAL, Padded
from aimv2_np.shapes import NDArray
from aimv2_np.training import Contrastive
from aimv2_np.training.pairs import PairMaker
from aimv2_np.training.world import World
from tests.tools.tiny_pictures import colourless, comparable, encode, neighbours, truth, twisted, without_colour

NEVER = -1e4  # the logit of what does not compete


class Statements(NamedTuple):
    """Pictures, statements about them, which holds of which, and which compete with which."""

    pixels: NDArray
    ids: NDArray
    keys: NDArray
    true: NDArray  # (pictures, statements)
    rival: NDArray  # (pictures, statements)


@dataclass(frozen=True)
class TinyTask:
    """Pictures in pairs that differ in one respect; of each what holds in whole and in part, and what does not hold.

    Attributes:
        config, processor, trunk, locked, seed: as for `Contrastive`.
        single_until: up to this place pictures show a single thing.
        two: the share of pictures of two things, from there on.
        grey: the share of pictures that are shown without colours.
        twists: whether what is false of two things, in their own words, is among the statements.
    """

    config: Aimv2Config
    processor: Aimv2Processor
    trunk: Aimv2VisionModel | None = None
    locked: bool = False
    seed: int = 0
    single_until: int = 0
    two: float = 0.5
    grey: float = 0.2
    twists: bool = True

    @cached_property
    def plain(self) -> Contrastive:
        """The task of a picture's own caption among the others'."""
        return Contrastive(self.config, World(), self.processor, None, self.trunk, self.locked, self.seed)

    @cached_property
    def pairs(self) -> PairMaker:
        """What makes arrays of pictures and captions."""
        return self.plain.pairs

    @property
    def network(self) -> Aimv2:
        """The network before the first step."""
        return self.plain.network

    @property
    def facts(self) -> dict[str, Any]:
        """What has to be the same where a training goes on."""
        own = ("single_until", "two", "grey", "twists")
        return {**self.plain.facts, "task": "tiny", **{name: getattr(self, name) for name in own}}

    def trained(self, path: str) -> bool:
        """All weights, or all but the locked trunk's."""
        return self.plain.trained(path)

    def batch(self, places: range) -> Statements:
        """Two pictures at every second place, which differ in one respect."""
        shown: list[Scene] = []
        pictures, said = [], []
        for place in places[::2]:
            rng = np.random.default_rng([self.seed, 3, place])
            for scene in neighbours(rng, self.two if place >= self.single_until else 0.0):
                drawn = np.asarray(draw(scene, rng))
                if rng.random() < self.grey:
                    scene, drawn = without_colour(scene), colourless(drawn)
                shown.append(scene)
                pictures.append(drawn)
                said += [scene, forget(scene, rng, rng.uniform(0, 0.7))]
                if self.twists and len(scene.things) == 2:
                    said.append(twisted(scene, rng))
        words = np.random.default_rng([self.seed, 4, places.start])
        ids, keys = self.pairs.captions([paraphrase(statement, words) for statement in said])
        seen, statements = encode(shown), encode(said)
        true = truth(seen, statements)
        rival = ~true & comparable(seen, statements)
        return Statements(self.pairs.image_processor(pictures)["pixel_values"], ids, keys, true, rival)

    def losses(self, network: Aimv2, batch: Statements) -> dict[str, Any]:
        """The loss, and the temperature."""
        compared = network(batch.ids, batch.pixels, CAUSAL & Padded(batch.keys.astype(np.int64)))
        loss = loss_of_truths(compared.logits_per_image, batch.true, batch.rival)
        return {"loss": loss, "logit_scale": network.logit_scale}

    def model(self, network: Aimv2) -> Aimv2Model:
        """The model that was trained."""
        return Aimv2Model.around(self.config, network)


def loss_of_truths(logits: Any, true: NDArray, rival: NDArray) -> Any:
    """The contrastive loss for statements that may hold of several pictures: (B, M) logits and two (B, M) bool.

    Each truth competes with the rival statements of its picture, and with the pictures that its statement is a rival
    of; never with other truths. The pictures of one statement share its weight. With one true caption for each picture
    it is the loss of both cross-entropies.
    """
    xp = namespace(logits)
    rivals = xp.where(rival, logits, np.float32(NEVER))
    against = [xp.logaddexp(0 * logits, _log_sum(rivals, axis) - logits) for axis in (1, 0)]
    number = np.maximum(true.sum(axis=0), 1)
    weights = (true / number / (2 * true.any(axis=0).sum())).astype(np.float32)
    return ((against[0] + against[1]) * weights).sum()


def _log_sum(logits: Any, axis: int) -> Any:
    xp = namespace(logits)
    largest = logits.max(axis=axis, keepdims=True)
    return largest + xp.log(xp.exp(logits - largest).sum(axis=axis, keepdims=True))
