"""config.json as each codebase writes it: timm's read as ours, ours written as Apple's or timm's.

Apple's is read without translation: its keys are Transformers', but for `use_bias`, which is `mlp_bias`.
"""

from collections.abc import Mapping
from typing import Any

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, AnyConfig, int8
from aimv2_np.config.unknown import refuse_changes
from aimv2_np.errors import CheckpointError
from aimv2_np.storage.released import RELEASED

# Ours → Apple's, in the order of Apple's files. What Apple's code has as constants is written only where it differs.
APPLE = (
    "attention_dropout", "hidden_size", "image_size", "intermediate_size", "num_attention_heads", "num_channels",
    "num_hidden_layers", "patch_size", "vocab_size", "max_position_embeddings", "eos_token_id", "qkv_bias",
    "rms_norm_eps", "is_native", "use_head", "final_norm",
)  # fmt: skip
CONSTANTS = ("hidden_act", "initializer_range")
# timm's model_args → ours.
TIMM = {
    "img_size": "image_size", "patch_size": "patch_size", "in_chans": "num_channels", "embed_dim": "hidden_size",
    "depth": "num_hidden_layers", "num_heads": "num_attention_heads",
}  # fmt: skip
TIMM_KEYS = ("architecture", "pretrained_cfg")
# What the hub's tools and other layouts' files say of themselves, which is no longer true of a converted checkpoint.
STALE = {
    "architectures",
    "auto_map",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "library_name",
    *TIMM_KEYS,
    int8.KEY,
}
# Of all aimv2 models of timm, what its image transforms are made from.
PRETRAINED_CFG = {
    "fixed_input_size": True, "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center",
    "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711], "num_classes": 0,
    "pool_size": None, "first_conv": "patch_embed.proj", "classifier": "head",
}  # fmt: skip


def is_timm(values: Mapping[str, Any]) -> bool:
    """Whether a parsed config.json is one of timm's."""
    kind = values.get("model_type")  # Transformers' wrapper around timm's models writes timm's keys beside its own
    return kind == "timm_wrapper" or ("model_type" not in values and not set(TIMM_KEYS).isdisjoint(values))


def from_timm(values: Mapping[str, Any], *, by_name: bool) -> dict[str, Any]:
    """timm's config.json under our keys: what it says, and with `by_name` what its architecture is known to be.

    Raises CheckpointError when it is of another architecture than AIMv2's.
    """
    name, arguments, pretrained = (values.get(key) for key in ("architecture", "model_args", "pretrained_cfg"))
    if not isinstance(name, str) or not name.startswith("aimv2_"):
        raise CheckpointError(f"it is timm's, of the architecture {name!r:.80}; expected one that begins with 'aimv2_'")
    ours: dict[str, Any] = {"model_type": Aimv2VisionConfig.model_type}
    released = next((released for released in RELEASED if released.architecture == name), None)
    if by_name and released is not None:
        ours.update(released.config().to_dict())
    if isinstance(pretrained, Mapping) and isinstance(size := pretrained.get("input_size"), list) and len(size) == 3:
        ours.update(num_channels=size[0], image_size=size[1:])
    if isinstance(arguments, Mapping):
        refuse_changes(arguments, "model_args.")
        ours.update({TIMM[key]: value for key, value in arguments.items() if key in TIMM})
    elif arguments is not None:
        raise CheckpointError(f"model_args is {arguments!r:.80}; expected an object")
    if by_name and released is None:
        raise CheckpointError(
            f"it is timm's, of the architecture {name!r:.80}, which no release has; fetch its weights"
        )
    return {**ours, "use_head": False, **{key: values[key] for key in TIMM_KEYS if key in values}}


def write_transformers(config: AnyConfig, dtype: str, architecture: str) -> dict[str, Any]:
    """Transformers' config.json."""
    return {**_without_stale(config.to_dict()), "architectures": [architecture], "dtype": dtype}


def write_apple(config: AnyConfig, dtype: str, _: str) -> dict[str, Any]:
    """Apple's config.json, whose `model_type` is "aimv2" for a single tower too."""
    head = {"architectures": ["AIMv2Model"], "model_type": "aimv2"}
    tail = {**_without_stale(config.extra), "torch_dtype": dtype}
    if not isinstance(config, Aimv2Config):
        return {**head, **_apple_tower(config), **tail}
    values = config.to_dict()
    scalars = {key: values[key] for key in ("projection_dim", "logit_scale_init_value", "max_logit_scale")}
    both = (config.vision_config, config.text_config)
    towers = {tower.key: {**_apple_tower(tower), **_without_stale(tower.extra)} for tower in both}
    return {**head, **scalars, **tail, **towers}


def write_timm(config: AnyConfig, dtype: str, _: str) -> dict[str, Any]:
    """timm's config.json; ValueError for a model that timm's keys cannot describe."""
    if not isinstance(config, Aimv2VisionConfig) or config.use_head or config.is_native:
        raise ValueError("timm's layout has no text tower, no pooling head and no native positions; choose another one")
    if config.hidden_act != "silu" or config.rms_norm_eps != 1e-5 or not config.final_norm:
        raise ValueError(
            "timm's config.json has no place for another hidden_act or rms_norm_eps, nor for a tower without its last "
            "norm; choose another layout"
        )
    values, known = config.to_dict(), config.extra.get("pretrained_cfg")
    arguments = {timm: values[ours] for timm, ours in TIMM.items() if timm != "in_chans" or config.num_channels != 3}
    arguments["mlp_ratio"] = _mlp_ratio(config)
    return {
        "architecture": _architecture(config),
        "num_classes": 0,
        "num_features": config.hidden_size,
        "global_pool": "avg",
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "apple_pt", "input_size": [config.num_channels, *config.image_shape], **PRETRAINED_CFG,
            **(known if isinstance(known, Mapping) else {}),
        },
    }  # fmt: skip


def _apple_tower(config: Aimv2VisionConfig | Aimv2TextConfig) -> dict[str, Any]:
    values, defaults = config.to_dict(), type(config)().to_dict()
    ours = {key: values[key] for key in APPLE if key in values}
    constants = {key: values[key] for key in CONSTANTS if values[key] != defaults[key]}
    return {**ours, **constants, "projection_dropout": 0.0, "use_bias": config.mlp_bias}


def _without_stale(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_stale(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in STALE
    }


def _architecture(config: Aimv2VisionConfig) -> str:
    """The released architecture that this is, or one whose every number model_args replaces."""
    same = (released.architecture for released in RELEASED if released.architecture and released.config() == config)
    return next(same, "aimv2_large_patch14_224")


def _mlp_ratio(config: Aimv2VisionConfig) -> float:
    """The ratio of which timm's int(width * ratio) is the MLP's width."""
    ratio = config.intermediate_size / config.hidden_size
    while int(config.hidden_size * ratio) < config.intermediate_size:  # the quotient was rounded down
        ratio += 2**-40 * ratio
    return ratio
