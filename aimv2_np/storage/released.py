"""The sixteen released checkpoints of AIMv2, and the sizes that they come in."""

from dataclasses import dataclass
from typing import NamedTuple

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig

# The hub's name for it: Apple Machine Learning Research model licence, for research only.
LICENCE = "apple-amlr"
HEAD_DIM = 128


class Size(NamedTuple):
    """The widths of a tower. The heads are always 128 wide."""

    hidden: int
    intermediate: int
    layers: int

    @property
    def heads(self) -> int:
        """How many there are."""
        return self.hidden // HEAD_DIM


# `base` is in Apple's code and in the text tower, and was not released by itself.
SIZES = {
    "base": Size(768, 2048, 12),
    "large": Size(1024, 2816, 24),
    "huge": Size(1536, 4096, 24),
    "1B": Size(2048, 5632, 24),
    "3B": Size(3072, 8192, 24),
}


@dataclass(frozen=True)
class Released:
    """One checkpoint.

    Attributes:
        id: on the hub; its `main` holds Transformers' layout.
        size: one of `SIZES`.
        image_size: pixels; None for the native one, which takes any size.
        parameters: numbers in all of its tensors.
        revision: the commit with the original layouts, PyTorch, MLX and Flax.
        top1: percent on ImageNet-1k with a frozen trunk, or zero-shot for the two-tower one, as Apple's README has it.
        timm: the same weights as timm hosts them, where it does.
        licence: of the weights, as the hub calls it.
    """

    id: str
    size: str
    image_size: int | None
    parameters: int
    revision: str
    top1: float | None = None
    timm: str | None = None
    licence: str = LICENCE

    @property
    def architecture(self) -> str | None:
        """What timm calls a network of this size: "aimv2_large_patch14_224"."""
        return self.timm.partition("/")[2].partition(".")[0] if self.timm else None

    @property
    def two_towers(self) -> bool:
        """Whether it has a text tower too."""
        return self.id.endswith("-lit")

    def config(self) -> Aimv2VisionConfig | Aimv2Config:
        """Its configuration."""
        size = SIZES[self.size]
        vision = Aimv2VisionConfig(
            hidden_size=size.hidden, intermediate_size=size.intermediate, num_hidden_layers=size.layers,
            num_attention_heads=size.heads, image_size=self.image_size or 224, is_native=self.image_size is None,
            use_head=self.two_towers,
        )  # fmt: skip
        if not self.two_towers:
            return vision
        return Aimv2Config(vision_config=vision, text_config=Aimv2TextConfig(), projection_dim=768)


def _vision(
    size: str, image_size: int | None, parameters: int, top1: float | None, revision: str, variant: str = ""
) -> Released:
    resolution = image_size or "native"
    tag = "apple_pt_dist" if variant else "apple_pt"
    timm = f"timm/aimv2_{size.lower()}_patch14_{resolution}.{tag}" if image_size else None
    name = f"apple/aimv2-{size}-patch14-{resolution}{variant}"
    return Released(name, size, image_size, parameters, revision, top1, timm)


RELEASED: tuple[Released, ...] = (
    _vision("large", 224, 309_197_824, 86.6, "ac764a25c832c7dc5e11871daa588e98e3cdbfb7"),
    _vision("huge", 224, 680_851_968, 87.5, "9e0bab0e0abb7b20796d2d0b37f39b7c3b1c1af1"),
    _vision("1B", 224, 1_234_958_336, 88.1, "4d24a422f71e87d327d476bc405030fe6593d8b1"),
    _vision("3B", 224, 2_720_658_432, 88.5, "df1cbc288096c9742ec8bd6709ff82757972338c"),
    _vision("large", 336, 309_525_504, 87.6, "639423ae9f07319d24a7fc431b61908110d08d3a"),
    _vision("huge", 336, 681_343_488, 88.2, "21528bd53a2438a84162e79f1f9a46453b88004c"),
    _vision("1B", 336, 1_235_613_696, 88.7, "5a15f23f6757776fdd487283353a018677621939"),
    _vision("3B", 336, 2_721_641_472, 89.2, "d1adb39ee92dfd7ecf3114b1ee3aa7e9027ce98f"),
    _vision("large", 448, 309_984_256, 87.9, "cefb13f21003bdadba65bfbee956c82b976cd23d"),
    _vision("huge", 448, 682_031_616, 88.6, "44e6440a24a8ea966ad0deadf5399a22d852bcc0"),
    _vision("1B", 448, 1_236_531_200, 89.0, "7f292735d3a07a911559c0fabb3ad3e9d141713f"),
    _vision("3B", 448, 2_723_017_728, 89.5, "70810b618e4456b724bacc8ef4d2d038060ceda6"),
    _vision("large", 224, 309_197_824, None, "d6d09b071e8ba31735c5e05ccd4b2a393020ce90", "-distilled"),
    _vision("large", 336, 309_525_504, None, "8fe1704e5cc1c80cefc99c194afcefe21dff1faa", "-distilled"),
    _vision("large", None, 308_935_680, 87.3, "cfe7bdbbc924a5f65272d5e2c27fe5f61771a629"),
    Released(
        "apple/aimv2-large-patch14-224-lit", "large", 224, 436_680_193, "c2cd59a786c4c06f39d199c50d08cc2eab9f8605", 77.0
    ),
)  # fmt: skip


def known_heads(sizes: tuple[object, ...]) -> int | None:
    """The heads of a tower of one of the released sizes (hidden, intermediate, layers); None for any other."""
    return next((size.heads for size in SIZES.values() if size == sizes), None)
