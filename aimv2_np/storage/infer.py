"""What a config.json lacks, from the shapes of the tensors under our names."""

from collections.abc import Mapping
from math import isqrt
from typing import Any

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.errors import CheckpointError
from aimv2_np.storage.layouts.table import PATCHES, TEXT, TOKENS, VISION
from aimv2_np.storage.released import SIZES, known_heads

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

POSITIONS = "embeddings.position_embedding.weight"
KEYS = {VISION: Aimv2VisionConfig.key, TEXT: Aimv2TextConfig.key}


def complete(values: Mapping[str, Any], shapes: Shapes, *, default_heads: bool) -> dict[str, Any]:
    """A parsed config.json with what it lacks: depth, widths, patch, positions, head, biases, one tower or two.

    What it says is kept, right or wrong. The number of heads leaves no trace in any shape: with `default_heads` an
    absent one means Transformers' default, as it does in a file that Transformers wrote; otherwise hidden_size / 128
    for the released sizes, and CheckpointError for any other.
    """
    result = dict(values)
    towers = {prefix: _below(prefix, shapes) for prefix in KEYS}
    if all(towers.values()):
        for prefix, key in KEYS.items():
            given = result.get(key)
            if given is None or isinstance(given, Mapping):  # anything else is refused with the configuration
                result[key] = _tower(given or {}, towers[prefix], key + ".", default_heads)
        if "visual_projection.weight" in shapes:
            result.setdefault("projection_dim", shapes["visual_projection.weight"][0])
        result.setdefault("model_type", Aimv2Config.model_type)
        return result
    if not any(key in result for key in KEYS.values()) and (PATCHES in shapes or TOKENS in shapes):
        result = _tower(result, shapes, "", default_heads)
        result.setdefault("model_type", (Aimv2VisionConfig if PATCHES in shapes else Aimv2TextConfig).model_type)
    return result


def inferred(shapes: Shapes) -> dict[str, Any]:
    """The keys of config.json that follow from the shapes of one tower; of two towers the names of their sections."""
    if all(_below(prefix, shapes) for prefix in KEYS):
        return dict.fromkeys(KEYS.values())
    return complete({"image_size": None}, shapes, default_heads=True)  # of no square grid it cannot be told


def _below(prefix: str, shapes: Shapes) -> dict[str, Shape]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _tower(given: Mapping[str, Any], shapes: Shapes, path: str, default_heads: bool) -> dict[str, Any]:
    found = _trunk(shapes)
    found.update(_vision(given, shapes, path) if PATCHES in shapes else _text(shapes))
    if "use_bias" in given:
        del found["mlp_bias"]
    result = {**found, **given}
    if "num_attention_heads" not in result and not default_heads:
        sizes = tuple(result.get(key) for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
        heads = known_heads(sizes)
        if heads is None:
            raise CheckpointError(
                f"{path}num_attention_heads is absent, which no tensor tells, and hidden_size {sizes[0]} "
                f"with intermediate_size {sizes[1]} and {sizes[2]} layers is none of the released sizes "
                f"({', '.join(SIZES)}); add it"
            )
        result["num_attention_heads"] = heads
    return result


def _trunk(shapes: Shapes) -> dict[str, Any]:
    layers = {name.split(".")[2] for name in shapes if name.startswith("encoder.layers.") and name.count(".") > 3}
    first = f"encoder.layers.{min(layers, default='0')}"
    found: dict[str, Any] = {
        "num_hidden_layers": len(layers),
        "qkv_bias": f"{first}.attention.q_proj.bias" in shapes,
        "mlp_bias": f"{first}.ffn.gate_proj.bias" in shapes,
    }
    widths = {"intermediate_size": "ffn.gate_proj.weight", "hidden_size": "rms_norm1.weight"}
    for key, name in ((key, f"{first}.{name}") for key, name in widths.items()):
        if shapes.get(name):
            found[key] = shapes[name][0]
    return found


def _vision(given: Mapping[str, Any], shapes: Shapes, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "use_head": any(name.startswith("head.") for name in shapes),
        "is_native": POSITIONS not in shapes,
    }
    if len(shapes[PATCHES]) != 4:
        return found
    found["num_channels"], height, width = shapes[PATCHES][1:]
    found["patch_size"] = height if height == width else [height, width]
    if "image_size" in given:
        return found
    # A native tower takes any image; its image_size is a mere default, which has to hold a patch.
    count = shapes[POSITIONS][0] if shapes.get(POSITIONS) else max(1, 224 // max(height, width, 1)) ** 2
    side = isqrt(count)
    if side * side != count:
        raise CheckpointError(
            f"{path}image_size is absent, and {count} positions are no square grid; add it, as [height, width]"
        )
    found["image_size"] = side * height if height == width else [side * height, side * width]
    return found


def _text(shapes: Shapes) -> dict[str, Any]:
    sizes = {"vocab_size": TOKENS, "max_position_embeddings": POSITIONS}
    return {key: shapes[name][0] for key, name in sizes.items() if shapes.get(name)}
