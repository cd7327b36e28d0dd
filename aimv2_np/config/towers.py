"""The configurations of the two towers; names and defaults are Transformers' (Fini et al. 2024, arXiv:2411.14402)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from aimv2_np.config.base import Config, check_mapping
from aimv2_np.config.fields import MAX_LAYERS, MAX_SIZE, activation, boolean, checked, integer, number, pixels
from aimv2_np.errors import mismatch

# Below this, eps rounds to zero in float32 and a row of zeros has no root-mean-square to be divided by.
MIN_EPS = 1e-30
MAX_PATCHES = 2**24
MAX_VOCAB = 2**24


# Not a dataclass of its own, which would put its two fields before all others.
class TowerConfig(Config):
    """What `Aimv2VisionConfig` and `Aimv2TextConfig` share: they can be taken out of a two-tower configuration."""

    aliases: ClassVar[Mapping[str, str]] = {"use_bias": "mlp_bias"}
    key: ClassVar[str]
    # Fields that only this tower has: they tell the towers apart where model_type is "aimv2" for either.
    own_names: ClassVar[frozenset[str]]
    hidden_size: int
    num_attention_heads: int

    @property
    def head_dim(self) -> int:
        """The width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def check(self) -> None:
        """Heads must divide the hidden size."""
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size}; expected a multiple of num_attention_heads, "
                f"which is {self.num_attention_heads}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """As `Config.from_dict`; of a two-tower configuration, this tower's part."""
        check_mapping(values)
        if "vision_config" not in values and "text_config" not in values:
            return super().from_dict(cls._check_names(values))
        if values.get("model_type") not in (None, "", "aimv2"):
            raise ValueError("model_type " + mismatch(values["model_type"], "'aimv2' where both towers are described"))
        tower = values.get(cls.key)
        if isinstance(tower, cls):
            return tower
        tower = {} if tower is None else tower
        check_mapping(tower, cls.key)
        try:
            return super().from_dict(tower)
        except ValueError as error:
            raise ValueError(f"{cls.key}.{error}") from None

    @classmethod
    def _check_names(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if cls.own_names.isdisjoint(values) and "model_type" not in values and "architecture" in values:
            raise ValueError(
                f"architecture {mismatch(values['architecture'], 'model_type')}: the keys are timm's; take the config "
                "attribute of the loaded model, which is completed from its weights"
            )
        other = Aimv2TextConfig if cls is Aimv2VisionConfig else Aimv2VisionConfig
        if cls.own_names.isdisjoint(values) and (foreign := sorted(other.own_names.intersection(values))):
            raise ValueError(f"{foreign[0]} belongs to an {other.__name__}; expected the keys of an {cls.__name__}")
        return values


@dataclass(frozen=True)
class Aimv2VisionConfig(TowerConfig):
    """The vision tower. `image_size` and `patch_size` are pixels: one number, or (height, width).

    Raises ValueError that names the field for any value, or combination of values, that is no network.
    """

    model_type: ClassVar[str] = "aimv2_vision_model"
    key: ClassVar[str] = "vision_config"
    own_names: ClassVar[frozenset[str]] = frozenset(
        {"image_size", "patch_size", "num_channels", "is_native", "use_head"}
    )

    hidden_size: int = integer(1024)
    intermediate_size: int = integer(2816)
    num_hidden_layers: int = integer(24, high=MAX_LAYERS)
    num_attention_heads: int = integer(8)
    num_channels: int = integer(3)
    image_size: int | tuple[int, int] = checked(224, pixels)
    patch_size: int | tuple[int, int] = checked(14, pixels)
    hidden_act: str = checked("silu", activation)
    attention_dropout: float = number(0.0, 0.0, 1.0)
    rms_norm_eps: float = number(1e-5, MIN_EPS, 1.0)
    qkv_bias: bool = boolean(False)
    mlp_bias: bool = boolean(False)
    initializer_range: float = number(0.02, 0.0, 1e3)
    use_head: bool = boolean(True)
    is_native: bool = boolean(False)
    final_norm: bool = boolean(True)

    def to_dict(self) -> dict[str, Any]:
        """As `Config.to_dict`; `final_norm`, which Transformers does not know, only where it is False."""
        values = super().to_dict()
        if self.final_norm:
            del values["final_norm"]
        return values

    def check(self) -> None:
        """The image holds at least one patch and not absurdly many; sine-cosine positions need four equal parts."""
        super().check()
        rows, columns = self.grid
        if rows < 1 or columns < 1:
            raise ValueError(f"image_size is {self.image_size}; expected at least one patch of {self.patch_size} in it")
        if rows * columns > MAX_PATCHES:
            raise ValueError(f"image_size gives {rows} x {columns} patches; expected at most {MAX_PATCHES} of them")
        if self.is_native and self.hidden_size % 4:
            raise ValueError(f"hidden_size is {self.hidden_size}; expected a multiple of 4, which is_native needs")

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)

    @property
    def patch_shape(self) -> tuple[int, int]:
        """(height, width) of a patch in pixels."""
        return self.patch_size if isinstance(self.patch_size, tuple) else (self.patch_size, self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of whole patches in an image of `image_size`."""
        (height, width), (patch_height, patch_width) = self.image_shape, self.patch_shape
        return height // patch_height, width // patch_width


@dataclass(frozen=True)
class Aimv2TextConfig(TowerConfig):
    """The text tower.

    `eos_token_id` is one id: the pooled output is the row where it first occurs, and with several (as Transformers'
    type annotation would permit) no definition of that row exists.
    Raises ValueError that names the field for any value, or combination of values, that is no network.
    """

    model_type: ClassVar[str] = "aimv2_text_model"
    key: ClassVar[str] = "text_config"
    own_names: ClassVar[frozenset[str]] = frozenset({"vocab_size", "max_position_embeddings"})

    vocab_size: int = integer(49408, high=MAX_VOCAB)
    hidden_size: int = integer(768)
    intermediate_size: int = integer(2048)
    num_hidden_layers: int = integer(12, high=MAX_LAYERS)
    num_attention_heads: int = integer(6)
    max_position_embeddings: int = integer(77, high=MAX_SIZE)
    hidden_act: str = checked("silu", activation)
    attention_dropout: float = number(0.0, 0.0, 1.0)
    eos_token_id: int = integer(49407, low=0, high=MAX_VOCAB - 1)
    rms_norm_eps: float = number(1e-5, MIN_EPS, 1.0)
    qkv_bias: bool = boolean(False)
    mlp_bias: bool = boolean(False)
    initializer_range: float = number(0.02, 0.0, 1e3)

    def check(self) -> None:
        """The end-of-text token is in the vocabulary."""
        super().check()
        if self.eos_token_id >= self.vocab_size:
            raise ValueError(
                f"eos_token_id is {self.eos_token_id}; expected a token of the vocabulary, "
                f"an integer from 0 to {self.vocab_size - 1} (vocab_size is {self.vocab_size})"
            )
