"""Fused projections in parts, whichever way they lie."""

import numpy as np
import pytest

from aimv2_np.comparison import compare
from tests.support.faults import GateUpSwapped
from tests.support.models import pixels, vision_model
from tests.support.port import Port, recorded

HEADS = 2


@pytest.fixture(scope="module")
def reference():
    return recorded(vision_model(), {"pixel_values": pixels()})


def one_after_the_other(*parts):
    return np.concatenate(parts, axis=-1)


def reversed_order(*parts):
    return np.concatenate(parts[::-1], axis=-1)


def in_turn(*parts):
    return np.stack(parts, axis=-1).reshape(*parts[0].shape[:-1], -1)


def by_head(*parts):
    apart = [part.reshape(*part.shape[:-1], HEADS, -1) for part in parts]
    return np.stack(apart, axis=-2).reshape(*parts[0].shape[:-1], -1)


def together(arrays, names, fuse, called):
    """A port's arrays with the projections `names` as one array each, called `called`."""
    result = {}
    for path, array in arrays.items():
        outer, _, last = path.rpartition(".")
        if last not in names or outer == "head":
            result[path] = array
        elif last == names[0]:
            result[f"{outer}.{called}"] = fuse(*(arrays[f"{outer}.{name}"] for name in names))
    return result


QKV, GATE_UP = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")


@pytest.mark.parametrize(
    ("names", "fuse", "called", "told"),
    [
        (QKV, one_after_the_other, "qkv", ()),
        (QKV, one_after_the_other, "qkv_proj", ()),
        (QKV, by_head, "qkv", ("qkv of the other side is read head by head, of 2 heads",)),
        (GATE_UP, one_after_the_other, "gate_up_proj", ()),
        (GATE_UP, reversed_order, "gate_up_proj", ("gate_up of the other side is read with up before gate",)),
        (GATE_UP, in_turn, "gate_up", ("gate_up of the other side is read with gate and up in turn",)),
    ],
)
def test_they_are_taken_apart(names, fuse, called, told, reference):
    other = together(Port(vision_model()).run(pixel_values=pixels()), names, fuse, called)
    result = compare(reference, other)
    assert result.equal, result.explanation
    assert result.extra == ()
    compared = {difference.path for difference in result.differences}
    assert {f"encoder.layers.1.{'attention' if names is QKV else 'ffn'}.{name}" for name in names} <= compared
    assert result.notes == told
    wrong = dict(other)
    path = next(path for path in other if path.startswith("encoder.layers.1") and path.endswith(called))
    wrong[path] = 1.1 * wrong[path]
    assert compare(reference, wrong).first.path.startswith("encoder.layers.1")


def test_gate_and_up_that_are_exchanged_are_a_fault_and_no_layout(reference):
    """Weights in the wrong halves give the halves exchanged as well, and then the module differs."""
    found = GateUpSwapped(vision_model()).run(pixel_values=pixels())
    other = together(found, GATE_UP, reversed_order, "gate_up_proj")
    result = compare(reference, other, model=vision_model())
    assert not result.equal
    assert result.notes == ()
    assert result.first.path.startswith("encoder.layers.0.ffn")


def test_names_of_others(reference):
    port = together(Port(vision_model()).run(pixel_values=pixels()), QKV, one_after_the_other, "qkv")
    blocks = {path: array for path, array in port.items() if path.endswith(".attention.qkv")}
    for name in ("v.blk.{}.attn_qkv", "image_encoder.trunk.blocks.{}.attn.qkv", "m.vit.blocks.{}.attn.qkv"):
        other = {name.format(path.split(".")[2]): array for path, array in blocks.items()}
        if name.startswith("m."):
            other["m.vit.blocks.0.norm1"] = port["encoder.layers.0.rms_norm1"]
        result = compare(reference, other)
        assert result.equal
        assert "encoder.layers.1.attention.k_proj" in {difference.path for difference in result.differences}


@pytest.mark.parametrize("normed", [False, True])
def test_the_last_hidden_state_is_the_layers_or_the_norms(reference, normed):
    """Transformers' `hidden_states`: what the last one is depends on its version."""
    last = reference["last_hidden_state" if normed else "encoder.layers.1"]
    other = {"hidden_states.0": reference["embeddings"], "hidden_states.1": reference["encoder.layers.0"]}
    result = compare(reference, other | {"hidden_states.2": last})
    assert result.equal, result.explanation
    paths = [difference.path for difference in result.differences]
    assert paths == ["embeddings", "encoder.layers.0", "last_hidden_state" if normed else "encoder.layers.1"]
    assert not compare(reference, other | {"hidden_states.2": 2 * last})
