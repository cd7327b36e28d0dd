import numpy as np
import pytest
import torch
from torch import nn

from aimv2_np.recording import record
from aimv2_np.recording.adapters import record_torch
from tests.support.comparison import relative_error
from tests.support.models import both_model, pixels, tokens, vision_model
from tests.support.oracle import their_model

BOTH = {"pixel_values": pixels(), "input_ids": tokens(), "attention_mask": np.ones((2, 6), np.int64)}


def test_transformers_has_our_paths_shapes_and_numbers(tmp_path):
    model = both_model()
    ours = record(model, BOTH, tmp_path / "ours.safetensors")
    theirs = record_torch(their_model(model), BOTH, tmp_path / "theirs.safetensors")
    # A function there and a module's array here, or the other way round.
    assert set(ours.order) - set(theirs.order) == set()
    left = {path.rpartition(".")[2] for path in set(theirs.order) - set(ours.order)}
    assert left <= {"act_fn", "1"}  # the activation function; attention's probabilities
    for path in ours.order:
        assert ours.shapes[path] == theirs.shapes[path], path
        # float32 through two small towers: a few hundred ε
        assert relative_error(theirs.activations[path], ours.activations[path]) < 1e-4, path
    assert (theirs.source, theirs.metadata["dtype"]) == ("torch", "float32")
    assert theirs.config["vision_config"]["hidden_size"] == 16
    shared = [path for path in theirs.order if path in ours.shapes]
    assert shared.index("vision_model.encoder.layers.0") < shared.index("vision_model.encoder.layers.1")


def test_bfloat16_keeps_its_name_and_its_numbers(tmp_path):
    theirs = their_model(vision_model()).bfloat16()
    found = record_torch(theirs, {"pixel_values": pixels()}, tmp_path / "a.safetensors", ["*.ffn", "last_hidden_state"])
    assert found.order == ("encoder.layers.0.ffn", "encoder.layers.1.ffn", "last_hidden_state")
    assert set(found.dtypes.values()) == {"bfloat16"}
    array = found.activations["last_hidden_state"]
    assert array.dtype == np.float32
    assert not (array.view(np.uint32) & 0xFFFF).any()


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.unused = nn.Linear(3, 2)
        self.conv = nn.Conv2d(3, 5, 2, 2)

    def forward(self, x):
        return self.linear(x), [x], x.sum()

    def pictures(self, pixel_values):
        return self.conv(pixel_values)


def test_any_module(tmp_path):
    x = np.ones((4, 3), np.float64)
    found = record_torch(Odd(), {"x": x}, tmp_path / "a.safetensors")
    assert found.order == ("linear", "output.0", "output.2")
    assert found.inputs["x"].dtype == np.float32


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(4, 12)

    def forward(self, x):
        return self.attn.qkv(x)


def test_a_fused_projection_is_three(tmp_path):
    fused, x = Fused(), np.random.default_rng(0).standard_normal((2, 3, 4), dtype=np.float32)
    found = record_torch(fused, {"x": x}, tmp_path / "a.safetensors")
    assert found.order == ("attn.q_proj", "attn.k_proj", "attn.v_proj", "output")
    thirds = [found.activations[path] for path in found.order[:3]]
    np.testing.assert_array_equal(np.concatenate(thirds, axis=-1), found.activations["output"])


def test_another_way_in(tmp_path):
    odd = Odd()
    found = record_torch(odd, {"pixel_values": pixels(2, 4, 6)}, tmp_path / "a.safetensors", call=odd.pictures)
    assert found.order == ("conv",)
    expected = odd.conv(torch.from_numpy(pixels(2, 4, 6))).detach().numpy()
    np.testing.assert_allclose(
        found.activations["conv"][1, 4], expected[1, :, 1, 1], rtol=1e-6
    )  # token 4: row 1, column 1


def test_hooks_go_and_nothing_stays_after_an_error(tmp_path):
    odd = Odd()
    with pytest.raises(RuntimeError):
        record_torch(odd, {"x": np.ones((4, 7))}, tmp_path / "a.safetensors")
    assert all(not module._forward_hooks for module in odd.modules())
    with pytest.raises(ValueError, match="expected globs that match"):
        record_torch(odd, {"x": np.ones((4, 3))}, tmp_path / "a.safetensors", "unused")
    assert list(tmp_path.iterdir()) == []
