"""The three configurations: `Aimv2VisionConfig`, `Aimv2TextConfig`, and `Aimv2Config` for the model of both towers."""

from aimv2_np.config.aimv2 import Aimv2Config, config_from_dict, config_from_pretrained, kind_of
from aimv2_np.config.base import CONFIG_FILE, Config, read_config
from aimv2_np.config.fields import ACTIVATIONS
from aimv2_np.config.towers import Aimv2TextConfig, Aimv2VisionConfig

__all__ = [
    "ACTIVATIONS",
    "CONFIG_FILE",
    "Aimv2Config",
    "Aimv2TextConfig",
    "Aimv2VisionConfig",
    "Config",
    "config_from_dict",
    "config_from_pretrained",
    "kind_of",
    "read_config",
]
