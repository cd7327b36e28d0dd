"""The variants of AIMv2's pre-training that the paper's Table 9 compares, at a size that half a minute trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from PIL import Image

from aimv2_np import Aimv2Config, Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.data import tiny_model_path
from aimv2_np.training import Pretrain
from aimv2_np.training.world import World

PIXELS, PATCH, WIDTH, LAYERS, DEPTH, ALPHA = 32, 8, 64, 2, 2, 0.4
PICTURES, TWO = 4096, 0.4  # of the training set; the share of those that show two things


@dataclass(frozen=True)
class Variant:
    """One way to pre-train.

    Attributes:
        prefix: whether the encoder sees prefixes; without, every patch sees every other.
        text_weight, pixel_weight: of the losses.
        depth, width: of the decoder.
        trained: False: the encoder as it begins, for comparison.
    """

    prefix: bool = True
    text_weight: float = 1.0
    pixel_weight: float = ALPHA
    depth: int = DEPTH
    width: int = WIDTH
    trained: bool = True


VARIANTS: Mapping[str, Variant] = {
    "captions and pixels": Variant(),
    "captions only": Variant(pixel_weight=0.0),
    "captions only, no prefix": Variant(pixel_weight=0.0, prefix=False),
    "pixels only": Variant(text_weight=0.0),
    "α = 0.1": Variant(pixel_weight=0.1),
    "α = 1": Variant(pixel_weight=1.0),
    "decoder of 1 block": Variant(depth=1),
    "decoder of 4 blocks": Variant(depth=4),
    "decoder half as wide": Variant(width=WIDTH // 2),
    "decoder twice as wide": Variant(width=WIDTH * 2),
    "untrained": Variant(trained=False),
}
BASE = "captions and pixels"


@dataclass(frozen=True)
class Kept:
    """Pictures that are drawn once, and kept."""

    world: World
    drawn: dict[int, tuple[Image.Image, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.world)

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        if number not in self.drawn:
            self.drawn[number] = self.world[number]
        return self.drawn[number]

    @property
    def facts(self) -> Mapping[str, Any]:
        """The world's."""
        return self.world.facts

    def name(self, number: int) -> str:
        """The world's."""
        return self.world.name(number)


@cache
def pictures(seed: int) -> Kept:
    """The training set, seed 0, or another set of as many."""
    return Kept(World(PICTURES, two=TWO, seed=seed, plain=True))


@cache
def processor() -> Aimv2Processor:
    """The embedded model's tokenizer, for pictures of `PIXELS`."""
    sizes = Aimv2ImageProcessor(size={"shortest_edge": PIXELS}, crop_size={"height": PIXELS, "width": PIXELS})
    return Aimv2Processor(sizes, Aimv2Processor.from_pretrained(tiny_model_path()).tokenizer)


def task(variant: Variant, seed: int, shown: Kept | None = None) -> Pretrain:
    """A variant's pre-training; all of one seed see the same pictures in the same order."""
    whole = Aimv2Config.from_pretrained(tiny_model_path())
    vision = replace(
        whole.vision_config, image_size=PIXELS, patch_size=PATCH, num_hidden_layers=LAYERS, use_head=False,
        **sizes(WIDTH),
    )  # fmt: skip
    decoder = replace(whole.text_config, num_hidden_layers=variant.depth, **sizes(variant.width))
    return Pretrain(
        vision, decoder, shown or pictures(0), processor(), None, variant.prefix, variant.text_weight,
        variant.pixel_weight, seed,
    )  # fmt: skip


def sizes(width: int) -> dict[str, int]:
    """A trunk of this width: heads of 16 numbers, an MLP of 8/3 the width."""
    return {"hidden_size": width, "num_attention_heads": width // 16, "intermediate_size": round(width / 3) * 8}


def names(chosen: Sequence[str] | None) -> list[str]:
    """The variants that are asked for, all without a wish; ValueError for one that there is not."""
    for name in chosen or ():
        if name not in VARIANTS:
            raise ValueError(f"--only is {name!r}; expected some of: {', '.join(VARIANTS)}")
    return [name for name in VARIANTS if not chosen or name in chosen]
