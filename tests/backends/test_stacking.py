"""Arrays that lie in one stack, on the stand-in for a device."""

import numpy as np
import pytest

from aimv2_np.backends.stacking import Stacker, stacked
from tests.support import fake_cupy
from tests.support.models import vision_config, vision_model


def shapes_of(tree):
    return {path: array.shape for path, array in tree.state_dict().items()}


@pytest.fixture
def cupy():
    with fake_cupy.installed() as module:
        yield module


@pytest.mark.parametrize("bias", [False, True])
def test_groups_are_neighbours_in_memory(cupy, bias):
    model = vision_model(qkv_bias=bias, mlp_bias=bias)
    stack = Stacker(shapes_of(model))
    moved = model.map(lambda path, array: stack(path, cupy.asarray(array)))
    for layer, original in zip(moved.encoder.layers, model.encoder.layers, strict=True):
        attention, ffn = layer.attention, layer.ffn
        for kind in ["weight"] + ["bias"] * bias:
            qkv = stacked([getattr(it, kind) for it in (attention.q_proj, attention.k_proj, attention.v_proj)])
            own = [getattr(original.attention, f"{name}_proj") for name in "qkv"]
            np.testing.assert_array_equal(qkv.get(), np.concatenate([getattr(it, kind) for it in own]))
            both = stacked([getattr(it, kind) for it in (ffn.gate_proj, ffn.up_proj)])
            assert both.shape[0] == 2 * len(original.ffn.up_proj.weight)
        assert stacked([attention.q_proj.weight, attention.v_proj.weight]) is None
        assert stacked([attention.k_proj.weight, attention.q_proj.weight]) is None
        assert stacked([attention.k_proj.weight, attention.v_proj.weight]).shape == (32, 16)


def test_a_skeleton_will_do_and_any_order(cupy):
    model = vision_model()
    stack = Stacker(shapes_of(type(model).skeleton(vision_config())))
    state = dict(reversed([(path, stack(path, cupy.asarray(a))) for path, a in reversed(model.state_dict().items())]))
    q, k, v = (state[f"encoder.layers.1.attention.{name}_proj.weight"] for name in "qkv")
    assert stacked([q, k, v]).shape == (48, 16)
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(state[path].get(), array)


def test_what_is_no_neighbour(cupy):
    a, b = (cupy.asarray(np.zeros((2, 3), np.float32)) for _ in range(2))
    assert stacked([a, b]) is None
    whole = cupy.asarray(np.arange(24, dtype=np.float32).reshape(8, 3))
    assert stacked([whole[:2], whole[3:5]]) is None
    assert stacked([whole[:2], whole[2:4, :2]]) is None
    np.testing.assert_array_equal(stacked([whole[1:2], whole[2:6]]).get(), whole[1:6].get())
    assert stacked([np.zeros((2, 3)), np.zeros((2, 3))]) is None


def test_nobody_asks_for_the_whole_interface(cupy, monkeypatch):
    """CuPy makes a dictionary of it each time."""
    asked = []
    monkeypatch.setattr(cupy.ndarray, "__cuda_array_interface__", property(lambda self: asked.append(self)))
    whole = cupy.asarray(np.arange(24, dtype=np.float32).reshape(8, 3))
    assert stacked([whole[:2], whole[2:4]]).shape == (4, 3)
    assert asked == []
