"""The three configurations: `Aimv2VisionConfig`, `Aimv2TextConfig`, and `Aimv2Config` for the model of both towers.

What a `config.json` of Transformers may say, each field checked, belongs here. How other codebases write theirs belongs
to `storage`, where weights come with it; the settings of pictures and tokenizers belong to `processing`.
"""

from aimv2_np.config.aimv2 import Aimv2Config, AnyConfig, config_from_dict, config_from_pretrained, kind_of
from aimv2_np.config.base import Config, read_config
from aimv2_np.config.towers import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.config.unknown import warn_unknown
from aimv2_np.files.locate import CONFIG_FILE

__all__ = [
    "CONFIG_FILE",
    "Aimv2Config",
    "Aimv2TextConfig",
    "Aimv2VisionConfig",
    "AnyConfig",
    "Config",
    "config_from_dict",
    "config_from_pretrained",
    "kind_of",
    "read_config",
    "warn_unknown",
]
