"""`quantization_config` in a config.json: the one way to keep weights in less than a float that is read here.

It is compressed-tensors' "int-quantized": the weight of a linear map is int8, `weight_scale` beside it has a factor for
each row, and all else is floats. Transformers reads it where that library is installed.
"""

from collections.abc import Mapping
from typing import Any

KEY = "quantization_config"
WEIGHTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
INT8: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "format": "int-quantized",
            "targets": ["Linear"],
            "weights": {**WEIGHTS, "dynamic": False},
            "input_activations": None,
            "output_activations": None,
        }
    },
    "ignore": [],
    "kv_cache_scheme": None,
}


def is_int8(value: object) -> bool:
    """Whether a quantization_config means just that; what is quantised otherwise computes something else."""
    if not isinstance(value, Mapping) or any(value.get(key) != INT8[key] for key in ("quant_method", "format")):
        return False
    groups = value.get("config_groups")
    if not isinstance(groups, Mapping) or not groups or value.get("kv_cache_scheme") is not None:
        return False
    return all(isinstance(group, Mapping) and _has_weights_only(group) for group in groups.values())


def _has_weights_only(group: Mapping[str, Any]) -> bool:
    weights = group.get("weights")
    if not isinstance(weights, Mapping) or group.get("input_activations") or group.get("output_activations"):
        return False
    return all(weights.get(key) == value for key, value in WEIGHTS.items())
