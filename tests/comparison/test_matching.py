"""Which name of the other side counts where several lead to one path."""

import json

import numpy as np
import pytest

from aimv2_np.comparison.matching import NothingInCommonError, match
from aimv2_np.recording import Recording

X = np.ones((1, 2, 4), np.float32)


def recording(*names, **metadata):
    return Recording.from_arrays(dict.fromkeys(names, X), **metadata)


OURS = recording("encoder.layers.0.ffn.down_proj", "encoder.layers.0.ffn", "rms_norm", "last_hidden_state")


def test_a_module_counts_more_than_an_operator_and_our_own_path_most():
    operator = "/encoder/layers.0/ffn/down_proj/MatMul_output_0"
    names = [operator, "blocks.0.mlp.fc2", "encoder.layers.0.ffn.down_proj"]
    for count in (1, 2, 3):
        assert match(OURS, recording(*names[:count]), None).names == {
            "encoder.layers.0.ffn.down_proj": names[count - 1]
        }
        assert match(OURS, recording(*names[:count]), None).extra == ()


def test_what_a_recording_says_of_its_modules_counts():
    said = {"m.encoder.layers.0.ffn": "linear_3", "m.rms_norm": "mul_9", "rms_norm": 3, "x": "not there"}
    found = match(OURS, recording("linear_3", "mul_9", "mul_8", modules=json.dumps(said)), None)
    assert found.names["encoder.layers.0.ffn"] == "linear_3"
    assert found.extra == tuple(name for name in ("mul_9", "mul_8") if name not in found.names.values())


@pytest.mark.parametrize("modules", ["no JSON", "[1]", "3", "[" * 5000])
def test_modules_that_make_no_sense_say_nothing(modules):
    assert match(OURS, recording("rms_norm", modules=modules), None).names == {"rms_norm": "rms_norm"}


def test_the_last_modules_of_a_graph_have_the_names_of_its_outputs():
    graph = ["/encoder/layers.0/ffn/down_proj/MatMul_output_0", "/rms_norm/Mul_output_0", "last_hidden_state"]
    assert match(OURS, recording(*graph), None).names["rms_norm"] == "last_hidden_state"
    assert "rms_norm" in match(OURS, recording("last_hidden_state"), None).missing  # no graph


def test_nothing_in_common():
    with pytest.raises(NothingInCommonError, match=r"the other x; expected common names: say which is which"):
        match(OURS, recording("x"), None)
