"""aimv2_np/config/int8.py: one way to quantise is read, and no other."""

import copy

import pytest

from aimv2_np import Aimv2VisionConfig
from aimv2_np.config.int8 import INT8, KEY, is_int8


def changed(**group):
    value = copy.deepcopy(INT8)
    value["config_groups"]["group_0"].update(group)
    return value


def test_what_is_written_is_read():
    config = Aimv2VisionConfig.from_dict({KEY: INT8})
    assert KEY not in config.to_file("float32", "Aimv2VisionModel")  # a model has floats


WEIGHTS = INT8["config_groups"]["group_0"]["weights"]
OTHERS = {
    "another library": INT8 | {"quant_method": "bitsandbytes"},
    "another format": INT8 | {"format": "pack-quantized"},
    "fewer bits": changed(weights=WEIGHTS | {"num_bits": 4}),
    "floats": changed(weights=WEIGHTS | {"type": "float"}),
    "zero points": changed(weights=WEIGHTS | {"symmetric": False}),
    "groups": changed(weights=WEIGHTS | {"strategy": "group"}),
    "activations too": changed(input_activations={"num_bits": 8}),
    "outputs too": changed(output_activations={"num_bits": 8}),
    "keys and values": INT8 | {"kv_cache_scheme": {"num_bits": 8}},
    "no weights": changed(weights=None),
    "no groups": INT8 | {"config_groups": {}},
    "a list of groups": INT8 | {"config_groups": [1]},
    "a group that is none": INT8 | {"config_groups": {"group_0": 8}},
    "a word": "int8",
}


@pytest.mark.parametrize("value", OTHERS.values(), ids=OTHERS)
def test_all_others_are_refused_by_name(value):
    assert not is_int8(value)
    with pytest.raises(ValueError, match=r"^quantization_config is .*quantised weights"):
        Aimv2VisionConfig.from_dict({KEY: value})
