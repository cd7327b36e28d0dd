"""The part of a larger model's config.json that describes the AIMv2 inside it."""

from collections.abc import Iterator, Mapping
from typing import Any

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.storage.dialects import from_timm, is_timm

OVIS = "ovis2_vision"  # Transformers' name for the vision tower of Ovis2, whose config has its visual vocabulary too
OVIS_KEYS = {"vocab_size", "hidden_stride", "num_visual_indicator_tokens", "tokenize_function"}
KINDS = {OVIS, *(kind.model_type for kind in (Aimv2Config, Aimv2VisionConfig, Aimv2TextConfig))}
OPENCLIP = "model_cfg"  # a key of OpenCLIP's configurations, which have no model_type
DEPTH = 6
# Which the tensors tell too: a part of the configuration that says otherwise describes something else.
KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "patch_size", "vocab_size", "max_position_embeddings")


def section(values: Mapping[str, Any], inferred: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The part of a parsed config.json, which may be all of it, that describes an AIMv2; {} where none does.

    The outermost part that says of itself that it is an AIMv2, or else the one that says most of what the tensors tell
    (`inferred`: keys of a configuration) and contradicts nothing of it.
    """
    parts = list(_parts(values))
    both = inferred is None or "vision_config" in inferred
    named = [part for part in parts if _is_named(part) and (both or "vision_config" not in part)]
    if named:  # where all of them contradict the tensors, the error is about the first
        return _aimv2_part(next((part for part in named if _agreement(part, inferred or {}) >= 0), named[0]))
    if inferred is None or both:
        return {}
    scores = [(_agreement(part, inferred), part) for part in parts]
    score, best = max(scores, key=lambda scored: scored[0])
    return _aimv2_part(best) if score > 1 else {}


def _parts(values: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    yield values
    if depth < DEPTH:
        for value in values.values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Mapping) and all(isinstance(key, str) for key in part):
                    yield from _parts(part, depth + 1)


def _is_named(part: Mapping[str, Any]) -> bool:
    kind = part.get("model_type")
    if is_timm(part) or "timm_model_name" in part:
        name = part.get("architecture", part.get("timm_model_name"))
        return isinstance(name, str) and name.startswith("aimv2_")
    return isinstance(kind, str) and kind in KINDS


def _aimv2_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if "timm_model_name" in part:  # of OpenCLIP, whose image size is the tower's
        size = {"image_size": part["image_size"]} if "image_size" in part else {}
        return {**from_timm({"architecture": part["timm_model_name"]}, by_name=False), **size}
    if part.get("model_type") == OVIS:
        kept = {key: value for key, value in part.items() if key not in OVIS_KEYS}
        return {**kept, "model_type": Aimv2VisionConfig.model_type}
    return dict(part)


def _agreement(part: Mapping[str, Any], inferred: Mapping[str, Any]) -> int:
    said = [key for key in KEYS if key in part and key in inferred]
    return -1 if any(part[key] != inferred[key] for key in said) else len(said)


def is_wrapped(values: Mapping[str, Any]) -> bool:
    """Whether a parsed config.json is of a larger model that has a part which describes an AIMv2."""
    kind = values.get("model_type")
    larger = kind not in (None, "", Aimv2Config.model_type) or OPENCLIP in values
    return larger and not _is_named(values) and bool(section(values))
