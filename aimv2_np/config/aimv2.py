"""The configuration of the two-tower model, and which of the three kinds a `config.json` is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, Unpack

from aimv2_np.config.base import Config, check_mapping, naming_file, read_config
from aimv2_np.config.fields import integer, number
from aimv2_np.config.towers import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.errors import mismatch
from aimv2_np.files.hub import HubOptions

TOWERS: tuple[type[Aimv2VisionConfig], type[Aimv2TextConfig]] = (Aimv2VisionConfig, Aimv2TextConfig)


@dataclass(frozen=True)
class Aimv2Config(Config):
    """Both towers, the width they are projected to, and the temperature of their product.

    The logits are the cosine similarities times exp(clip(logit_scale, 0, log(max_logit_scale))). Raises ValueError
    that names the field, a tower's by its path: `vision_config.hidden_size`.
    """

    model_type: ClassVar[str] = "aimv2"

    vision_config: Aimv2VisionConfig = field(default_factory=Aimv2VisionConfig)
    text_config: Aimv2TextConfig = field(default_factory=Aimv2TextConfig)
    projection_dim: int = integer(512)
    logit_scale_init_value: float = number(2.6592, -80.0, 80.0)
    max_logit_scale: float = number(100.0, 1e-30, 1e30)

    def check(self) -> None:
        """The towers are configurations already; dictionaries go through `from_dict`."""
        for tower in TOWERS:
            if not isinstance(value := getattr(self, tower.key), tower):
                raise ValueError(f"{tower.key} " + mismatch(value, f"an {tower.__name__}"))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """As `Config.from_dict`; a tower that is absent has its default configuration."""
        check_mapping(values)
        for tower in TOWERS:
            if "vision_config" not in values and "text_config" not in values and tower.own_names.intersection(values):
                raise ValueError(
                    f"the configuration is an {tower.__name__}; expected both towers; aimv2_np.load "
                    "takes the class that fits"
                )
        # Each tower out of the whole, so that an error in it names its field by the whole path.
        parts = {tower.key: tower.from_dict({tower.key: values.get(tower.key)}) for tower in TOWERS}
        return super().from_dict({**values, **parts})


AnyConfig = Aimv2Config | Aimv2VisionConfig | Aimv2TextConfig


def kind_of(values: Mapping[str, Any]) -> type[Aimv2Config] | type[Aimv2VisionConfig] | type[Aimv2TextConfig]:
    """The class of the configuration that a parsed `config.json` holds; ValueError when it is none of the three.

    `model_type` decides, unless it is "aimv2", which vision-only checkpoints of the original layout say too: then it
    is the keys at the top level.
    """
    check_mapping(values)
    model_type = values.get("model_type")
    for tower in TOWERS:
        if model_type == tower.model_type:
            return tower
    if model_type not in (None, "", Aimv2Config.model_type):
        raise ValueError("model_type " + mismatch(model_type, "'aimv2', 'aimv2_vision_model' or 'aimv2_text_model'"))
    if "vision_config" in values or "text_config" in values:
        return Aimv2Config
    for tower in TOWERS:
        if not tower.own_names.isdisjoint(values):
            return tower
    if model_type == Aimv2Config.model_type:
        return Aimv2Config
    raise ValueError("model_type is absent; expected 'aimv2', 'aimv2_vision_model' or 'aimv2_text_model'")


def config_from_dict(values: Mapping[str, Any]) -> AnyConfig:
    """The configuration that a parsed `config.json` holds, whichever of the three it is; ValueError names the field."""
    return kind_of(values).from_dict(values)


def config_from_pretrained(path_or_hub_id: str | os.PathLike[str], **options: Unpack[HubOptions]) -> AnyConfig:
    """The configuration of a folder or a repository on the hub, whichever of the three it is.

    Takes the options, and raises the errors, of `Aimv2Config.from_pretrained`.
    """
    values = read_config(path_or_hub_id, **options)
    with naming_file(path_or_hub_id):
        return config_from_dict(values)
