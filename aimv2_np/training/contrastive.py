"""Training both towers to agree, or the text tower to agree with a vision tower that stays as it is.

Radford et al. 2021 (arXiv:2103.00020); with the vision tower locked: Zhai et al. 2021 (arXiv:2111.07991), which is how
AIMv2's `-lit` checkpoint was made. Its pooling head and both projections are trained in either case: pre-training has
none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np

from aimv2_np.backends.arrays import widen
from aimv2_np.config import Aimv2Config
from aimv2_np.models import skeleton
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.pretrained import AnyModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.aimv2 import Aimv2
from aimv2_np.network.contrastive import contrastive_loss
from aimv2_np.network.view import CAUSAL, Padded
from aimv2_np.processing import Aimv2Processor
from aimv2_np.training.augment import Augmentation
from aimv2_np.training.batches import Captioned
from aimv2_np.training.initial import initialized
from aimv2_np.training.pairs import PairMaker, Pairs
from aimv2_np.training.pretraining import both

LOCKED = ("vision_model.embeddings.", "vision_model.encoder.", "vision_model.rms_norm.")


@dataclass(frozen=True)
class Contrastive:
    """Train a two-tower model on pictures and captions, each picture's own against all others of its batch.

    Args:
        config: of the model.
        pictures, processor, augmentation, seed: as for `Pretrain`; the text tower keeps the tokenizer's start token.
        trunk: a vision model whose trunk the training begins with; None: new weights.
        locked: keep the trunk as it is (locked-image tuning).
    """

    config: Aimv2Config
    pictures: Captioned
    processor: Aimv2Processor
    augmentation: Augmentation | None = None
    trunk: Aimv2VisionModel | None = None
    locked: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.locked and self.trunk is None:
            raise ValueError("locked is True without a trunk; expected the vision model that is to stay as it is")

    @cached_property
    def network(self) -> Aimv2:
        """The network before the first step."""
        network = initialized(skeleton.aimv2(self.config), self.seed)
        if self.trunk is None:
            return network
        known = {f"vision_model.{path}": array for path, array in self.trunk.state_dict().items()}
        wanted = {path: array for path, array in network.state_dict().items() if path.startswith(LOCKED)}
        for path, array in wanted.items():
            if path not in known or known[path].shape != array.shape:
                found = known[path].shape if path in known else "missing"
                raise ValueError(
                    f"trunk: {path} is {found}; expected the shape {array.shape} of config.vision_config, which has to "
                    "describe the vision model"
                )
        return network.map(lambda path, array: known[path] if path in wanted else array)

    @cached_property
    def pairs(self) -> PairMaker:
        """What makes arrays of pictures and captions."""
        image_processor, tokenizer = both(self.processor)
        size, tokens = self.config.vision_config.image_shape, self.config.text_config.max_position_embeddings
        return PairMaker(self.pictures, image_processor, tokenizer, size, tokens, True, self.augmentation, self.seed)

    @property
    def facts(self) -> dict[str, Any]:
        """What has to be the same where a training goes on."""
        return {
            "task": "contrastive", "config": self.config.to_dict(), "trunk": checksum(self.trunk),
            "locked": self.locked, **self.pairs.facts,
        }  # fmt: skip

    def trained(self, path: str) -> bool:
        """All weights, or all but the locked trunk's."""
        return not (self.locked and path.startswith(LOCKED))

    def batch(self, places: range) -> Pairs:
        """The pictures at these places of the training; ValueError for a single one, which competes with none."""
        if len(places) < 2:
            raise ValueError("a contrastive batch is of 1 picture; expected batch_size / accumulate of at least 2")
        return self.pairs(places)

    def losses(self, network: Aimv2, batch: Pairs) -> Mapping[str, Any]:
        """The loss of each picture's own caption among those of the batch, and the temperature."""
        text = network.text_model(batch.ids, CAUSAL & Padded(batch.keys.astype(np.int64))).pooler_output
        kind = network.vision_model.embeddings.patch_embed.weight.dtype
        image = network.vision_model(batch.pixels.astype(kind, copy=False)).pooler_output
        compared = network.compare(widen(text), widen(image))
        return {"loss": contrastive_loss(compared.logits_per_text), "logit_scale": network.logit_scale}

    def model(self, network: Aimv2) -> Aimv2Model:
        """The model that was trained."""
        return Aimv2Model.around(self.config, network)


def checksum(model: AnyModel | None) -> int:
    """A number that tells the weights of a model from other ones; 0 for none."""
    value = 0
    for array in model.state_dict().values() if model else ():
        value = crc32(np.ascontiguousarray(array).data, value)
    return value
