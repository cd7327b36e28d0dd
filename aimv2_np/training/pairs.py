"""Pictures and captions as the arrays that a network is trained with."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from PIL import Image

from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Tokenizer
from aimv2_np.processing.loading import IMAGE_ERRORS
from aimv2_np.shapes import Bool, Float, Int, NDArray
from aimv2_np.training.augment import Augmentation
from aimv2_np.training.batches import Captioned, numbers, random_of

TRIES = 100  # at pictures that cannot be read, one after the other


class Pairs(NamedTuple):
    """Some pictures with their captions."""

    pixels: Float[NDArray, "B C height width"]
    ids: Int[NDArray, "B T"]
    keys: Bool[NDArray, "B T"]  # where a token is, and no padding


@dataclass(frozen=True)
class PairMaker:
    """Makes the arrays of the pictures that are seen at some places of a training.

    Attributes:
        pictures: all that there are.
        size: (height, width) in pixels that pictures come out with.
        tokens: the most that are kept of a caption.
        start: whether captions keep the tokenizer's own start token.
        augmentation: None: whole pictures, resized and cropped as the processor does.
        seed: of the order and of the augmentation.
        left_out: the numbers of pictures that could not be read, of which a warning has told.
    """

    pictures: Captioned
    image_processor: Aimv2ImageProcessor
    tokenizer: Aimv2Tokenizer
    size: tuple[int, int]
    tokens: int
    start: bool
    augmentation: Augmentation | None
    seed: int
    left_out: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def facts(self) -> dict[str, Any]:
        """What has to be the same where a training goes on."""
        return {
            "pictures": self.pictures.facts, "image_processor": self.image_processor.to_dict(),
            "tokenizer": crc32(self.tokenizer.backend.to_str().encode()), "seed": self.seed,
            "augmentation": self.augmentation and asdict(self.augmentation),
        }  # fmt: skip

    def __call__(self, places: range) -> Pairs:
        if not places:
            raise ValueError("a batch is of no pictures; expected at least one place of the training")
        chosen = numbers(self.seed, len(self.pictures), places[0], len(places))
        found = [self._readable(number) for number in chosen]
        images = [picture for picture, _ in found]
        if self.augmentation is not None:
            images = [
                self.augmentation(image, random_of(self.seed, place), self.size)
                for image, place in zip(images, places, strict=True)
            ]
        pixels = self.image_processor(images)["pixel_values"]
        if not isinstance(pixels, np.ndarray) or pixels.shape[2:] != self.size:
            found_sizes = sorted({array.shape[1:] for array in pixels})
            raise ValueError(
                f"the image processor makes pictures of (height, width) {found_sizes}; expected {self.size}, the "
                "network's image_size: use the processor that belongs to it"
            )
        return Pairs(pixels, *self.captions([caption for _, caption in found]))

    def _readable(self, number: int) -> tuple[Image.Image, str]:
        """A picture and its caption; in the place of one that cannot be read the next that can, with a warning."""
        total = len(self.pictures)
        for other in range(number, number + min(total, TRIES)):
            try:
                return self.pictures[other % total]
            except (*IMAGE_ERRORS, OSError) as error:
                if other % total not in self.left_out:
                    warnings.warn(f"{self.pictures.name(other % total)} is left out: {error}", stacklevel=2)
                self.left_out.add(other % total)
        raise ValueError(f"none of {min(total, TRIES)} pictures in a row can be read; expected some that can")

    def captions(self, texts: Sequence[str]) -> tuple[Int[NDArray, "B T"], Bool[NDArray, "B T"]]:
        """The tokens of captions in rows, padded on the right; and where tokens are."""
        first = self.tokenizer.bos_token_id
        rows = []
        for text in texts:
            ids = self.tokenizer.encode(text, truncation=True, max_length=self.tokens + (not self.start))
            rows.append(ids[1:] if not self.start and ids[:1] == [first] else ids[: self.tokens])
        longest = max(1, *map(len, rows))
        keys = np.arange(longest) < np.array([len(row) for row in rows])[:, None]
        table = np.full(keys.shape, self.tokenizer.pad_token_id or 0, np.int64)
        table[keys] = np.concatenate([np.array(row, np.int64) for row in rows])
        return table, keys
