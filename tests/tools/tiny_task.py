"""Both towers of the tiny model, trained on what is known to be true of its pictures."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2Processor, Aimv2VisionModel
from aimv2_np.backends.arrays import namespace
from aimv2_np.data.drawing import draw
from aimv2_np.data.grammar import fact, forget, paraphrase
from aimv2_np.data.world import Scene
from aimv2_np.network.aimv2 import Aimv2
from aimv2_np.network.view import CAUSAL, Padded
from aimv2_np.shapes import NDArray
from aimv2_np.training import Contrastive
from aimv2_np.training.contrastive import checksum
from aimv2_np.training.pairs import PairMaker
from aimv2_np.training.world import World
from tests.tools.tiny_pictures import (
    FEW,
    VALUES,
    colourless,
    comparable,
    encode,
    misplaced,
    mistaken,
    neighbours,
    truth,
    without_colour,
)  # fmt: skip

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

    Who lies where is hard to begin with: nothing is to be gained by a vector of the picture that tells it before the
    text's vector does, and the other way round. So at first there are few colours and shapes, always two things, and
    the one that lies above or left is named first: to know who is named first is then enough for the text. Then come
    all colours and shapes, and single things. "B below A" comes last, more and more often.

    Attributes:
        config, processor, trunk, locked, seed: as for `Contrastive`.
        few_until: up to this place there are few colours and shapes, and always two things.
        ordered_until: up to this place who lies above or left is named first; twice as far on, every second time.
        two: the share of pictures of two things, after the first few.
        grey: the share of pictures that are shown without colours.
        begun: a model whose weights the training goes on from, in the place of the trunk's and new ones.
    """

    config: Aimv2Config
    processor: Aimv2Processor
    trunk: Aimv2VisionModel | None = None
    locked: bool = False
    seed: int = 0
    few_until: int = 0
    ordered_until: int = 0
    two: float = 0.5
    grey: float = 0.2
    begun: Aimv2Model | None = None

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
        return self.begun.network if self.begun else self.plain.network

    @property
    def facts(self) -> dict[str, Any]:
        """What has to be the same where a training goes on."""
        own = {name: getattr(self, name) for name in ("few_until", "ordered_until", "two", "grey")}
        if self.begun:
            own["begun"] = checksum(self.begun)
        return {**self.plain.facts, "task": "tiny", **own}

    def trained(self, path: str) -> bool:
        """All weights, or all but the locked trunk's."""
        return self.plain.trained(path)

    def batch(self, places: range) -> Statements:
        """Two pictures at every second place, which differ in one respect."""
        shown: list[Scene] = []
        pictures, said = [], []
        for place in places[::2]:
            rng = np.random.default_rng([self.seed, 3, place])
            few = place < self.few_until
            for scene in neighbours(rng, 1.0 if few else self.two, FEW if few else VALUES):
                drawn = np.asarray(draw(scene, rng))
                if rng.random() < self.grey:
                    scene, drawn = without_colour(scene), colourless(drawn)
                shown.append(scene)
                pictures.append(drawn)
                said += [scene, forget(scene, rng, rng.uniform(0, 0.7))]
                if len(scene.things) == 2:
                    said += [misplaced(scene), mistaken(scene, rng)]
        words = np.random.default_rng([self.seed, 4, places.start])
        turned = self.turned(places.start)
        ids, keys = self.pairs.captions([paraphrase(fact(statement), words, turned) for statement in said])
        seen, statements = encode(shown), encode(said)
        true = truth(seen, statements)
        rival = ~true & comparable(seen, statements)
        return Statements(self.pairs.image_processor(pictures)["pixel_values"], ids, keys, true, rival)

    def turned(self, place: int) -> float:
        """How often two things are told from the one that lies below or right: from never to every second time."""
        return 0.5 * min(max(place / self.ordered_until - 1, 0), 1) if self.ordered_until else 0.5

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
