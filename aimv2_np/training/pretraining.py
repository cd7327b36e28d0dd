"""AIMv2's pre-training as a task for the training loop: pictures with captions, prefixes drawn at random, both losses.

Fini et al. 2024 (arXiv:2411.14402), sections 2.1 and 2.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from aimv2_np.config import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.errors import mismatch
from aimv2_np.models import skeleton
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.pretraining import Pretraining, PretrainingLoss
from aimv2_np.processing import Aimv2Processor
from aimv2_np.shapes import NDArray
from aimv2_np.training.augment import Augmentation
from aimv2_np.training.batches import Captioned
from aimv2_np.training.initial import initialized
from aimv2_np.training.pairs import PairMaker, Pairs


@dataclass(frozen=True)
class Pretrain:
    """Train a vision tower by predicting pictures and captions.

    Args:
        vision: the tower's configuration; it has no pooling head while it is pre-trained.
        decoder: the decoder's: its vocabulary, how many tokens a caption may have, and its trunk.
        pictures: with captions, by number.
        processor: makes their arrays; its tokenizer's start token is left out, the decoder has one of its own.
        augmentation: of pictures; None shows them whole.
        prefix: whether the tower sees prefixes; without, all patches see all, and only captions can be learned from.
        text_weight, pixel_weight: of the losses.
        seed: of the first weights, the order, the augmentation and the prefixes.
    """

    vision: Aimv2VisionConfig
    decoder: Aimv2TextConfig
    pictures: Captioned
    processor: Aimv2Processor
    augmentation: Augmentation | None = None
    prefix: bool = True
    text_weight: float = 1.0
    pixel_weight: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("text_weight", "pixel_weight"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} " + mismatch(getattr(self, name), "a number of at least 0"))
        if self.vision.grid == (1, 1):
            raise ValueError("vision.image_size is one patch; expected at least two, of which the later is predicted")
        if not self.prefix and self.pixel_weight:
            raise ValueError(
                f"pixel_weight is {self.pixel_weight} without a prefix, where every patch is seen that is to be "
                "predicted; expected 0"
            )

    @cached_property
    def network(self) -> Pretraining:
        """The network before the first step."""
        tree = skeleton.pretraining(self.vision, self.decoder, self.text_weight, self.pixel_weight)
        return initialized(tree, self.seed)

    @cached_property
    def pairs(self) -> PairMaker:
        """What makes arrays of pictures and captions."""
        image_processor, tokenizer = both(self.processor)
        size, tokens = self.vision.image_shape, self.decoder.max_position_embeddings
        return PairMaker(self.pictures, image_processor, tokenizer, size, tokens, False, self.augmentation, self.seed)

    @property
    def facts(self) -> dict[str, Any]:
        """What has to be the same where a training goes on."""
        own = ("prefix", "text_weight", "pixel_weight")
        return {
            "task": "pretrain", "vision": self.vision.to_dict(), "decoder": self.decoder.to_dict(), **self.pairs.facts,
            **{name: getattr(self, name) for name in own},
        }  # fmt: skip

    def trained(self, path: str) -> bool:
        """Every weight is."""
        return True

    def batch(self, places: range) -> tuple[Pairs, NDArray | None]:
        """The pictures at these places of the training, and their prefixes."""
        return self.pairs(places), self.prefixes(places) if self.prefix else None

    def prefixes(self, places: range) -> NDArray:
        """How many patches of each picture are its prefix: every number from 1 to all but one is as likely."""
        rows, columns = self.vision.grid
        return np.array([np.random.default_rng([self.seed, 2, place]).integers(1, rows * columns) for place in places])

    def losses(self, network: Pretraining, batch: tuple[Pairs, NDArray | None]) -> Mapping[str, Any]:
        """The weighted loss, and its parts."""
        pairs, prefix = batch
        losses: PretrainingLoss = network(pairs.pixels, pairs.ids, pairs.keys, prefix)
        return losses._asdict()

    def model(self, network: Pretraining) -> Aimv2VisionModel:
        """The vision model that was trained, without the decoder."""
        return Aimv2VisionModel.around(replace(self.vision, use_head=False), network.vision_model)


def both(processor: Aimv2Processor) -> tuple[Any, Any]:
    """The image processor and the tokenizer; ValueError where one of them is missing."""
    for name in ("image_processor", "tokenizer"):
        if getattr(processor, name) is None:
            raise ValueError(f"the processor has no {name}; expected both, as captions are learned from too")
    return processor.image_processor, processor.tokenizer
