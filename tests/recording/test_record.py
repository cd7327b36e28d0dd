import json
import tracemalloc

import numpy as np
import pytest

from aimv2_np import Aimv2Model, Aimv2VisionConfig, Aimv2VisionModel, trace
from aimv2_np.comparison import compare
from aimv2_np.config import Aimv2Config, Aimv2TextConfig
from aimv2_np.recording import RecordingWriter, record
from aimv2_np.storage.digest import hash_weights
from tests.support.comparison import expected_paths
from tests.support.models import both_model, pixels, text_model, tokens, vision_model

BOTH = {"pixel_values": pixels(), "input_ids": tokens()}


@pytest.mark.parametrize("inner", [False, True])
def test_everything_a_trace_sees_is_in_the_file(tmp_path, inner):
    model = both_model()
    found = record(model, BOTH, tmp_path / "a.safetensors", inner=inner)
    with trace(model, inner=inner) as activations:
        model(**BOTH)
    expected = [path for path in activations if inner or path.rpartition(".")[2] not in "qkv"]
    assert list(found.order) == expected
    for path, array in ((path, activations[path]) for path in expected):
        np.testing.assert_array_equal(found.activations[path], array)
    assert {name: array.tolist() for name, array in found.inputs.items()} == {
        name: array.tolist() for name, array in BOTH.items()
    }


def test_metadata(tmp_path):
    model = vision_model()
    found = record(model, {"pixel_values": pixels()}, tmp_path / "a.safetensors")
    assert found.config == json.loads(json.dumps(model.config.to_dict()))
    assert (found.source, found.metadata["dtype"], found.metadata["backend"]) == ("aimv2_np", "float32", "numpy")
    assert json.loads(found.metadata["versions"])["numpy"] == np.__version__
    assert found.metadata["weights_hash"] == hash_weights(model.state_dict())


def test_the_hash_of_weights_sees_every_change():
    state = vision_model().state_dict()
    first = next(iter(state))
    nudged = np.nextafter(state[first], np.float32(9))
    variants = [
        state,
        state | {first: nudged},
        state | {first: state[first].astype(np.float64)},
        {"x" + k: v for k, v in state.items()},
    ]
    assert len({hash_weights(variant) for variant in variants}) == 4
    assert hash_weights(dict(reversed(state.items()))) == hash_weights(state)


def test_globs_and_slices(tmp_path):
    found = record(
        vision_model(), {"pixel_values": pixels()}, tmp_path / "a.safetensors", "*.ffn", slices={"*": "0, :2"}
    )
    assert found.order == ("encoder.layers.0.ffn", "encoder.layers.1.ffn")
    assert found.activations["encoder.layers.1.ffn"].shape == (2, 16)


@pytest.mark.parametrize(("glob", "message"), [("*.mlp", "matches no activation"), ("*.q", "need inner=True")])
def test_a_glob_that_matches_nothing(tmp_path, glob, message):
    with pytest.raises(ValueError, match=message):
        record(vision_model(), {"pixel_values": pixels()}, tmp_path / "a.safetensors", [glob])
    assert list(tmp_path.iterdir()) == []


def test_options_of_the_model_are_recorded(tmp_path):
    model, inputs = text_model(), {"input_ids": tokens()}
    one = record(model, inputs, tmp_path / "a.safetensors")
    other = record(model, inputs, tmp_path / "b.safetensors", causal=False)
    assert json.loads(other.metadata["options"]) == {"causal": False}
    assert not np.array_equal(one.activations["last_hidden_state"], other.activations["last_hidden_state"])


def test_bad_inputs_leave_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="pixel_values has shape"):
        record(vision_model(), {"pixel_values": np.zeros((2, 2))}, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_overflow_in_float16_is_an_error_and_leaves_nothing(tmp_path):
    model = vision_model().map(lambda path, a: a * np.float32(1e4) if path.endswith("rms_norm2.weight") else a)
    with pytest.raises(ValueError, match="overflowed float16"), np.errstate(all="ignore"):
        record(model.to(dtype="float16"), {"pixel_values": pixels()}, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_modules(tmp_path):
    def peak(layers: int) -> int:
        config = Aimv2VisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2, image_size=64,
            patch_size=2,
        )  # fmt: skip
        model, inputs = Aimv2VisionModel(config), {"pixel_values": pixels(1, 64, 64)}
        model(**inputs)
        tracemalloc.start()
        record(model, inputs, tmp_path / f"{layers}.safetensors")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    one_layer_of_activations = (
        1024 * (9 * 32 + 2 * 64) * 4
    )  # bytes: 1.7 MB; how tiles of attention overlap in time adds some
    assert peak(12) - peak(2) < 3 * one_layer_of_activations  # keeping them would cost ten


def test_statistics_of_the_large_model_fit_in_200_kb(tmp_path):
    """The LiT checkpoint's 457 activations by name, with arrays of the real shapes' sizes replaced by small ones:
    what the file takes depends on the paths and the shapes' digits alone."""
    lit = Aimv2Config(vision_config=Aimv2VisionConfig(), text_config=Aimv2TextConfig(), projection_dim=768)
    paths = {p for p in expected_paths(Aimv2Model.skeleton(lit), inner=False) if p.rpartition(".")[2] not in "qkv"}
    assert len(paths) == 457
    path = tmp_path / "large.safetensors"
    metadata = {
        "config": json.dumps(lit.to_dict()),
        "weights_hash": "0" * 64,
        "config_hash": "0" * 64,
        "versions": "x" * 120,
    }
    with RecordingWriter(path, source="aimv2_np", statistics=True, metadata=metadata) as writer:
        writer.add_input("pixel_values", np.zeros((1, 3, 224, 224), np.float32))
        writer.add_input("input_ids", np.zeros((2, 77), np.int64))
        for name in paths:
            writer.add(name, np.broadcast_to(np.float32(0.1), (1, 256, 1)))
    longest = len("[1,256,2816],") - len("[1,256,1],")
    assert path.stat().st_size + longest * len(paths) < 200_000


def test_a_pack_is_compared_and_no_cause_made_up(tmp_path):
    """Causes are found by running single modules again, which would let the pictures of a pack see each other."""
    model = vision_model(is_native=True, patch_size=1, num_hidden_layers=2)
    images = [pixels(1, *size)[0] for size in [(8, 14), (10, 12)]]
    found = record(model, {"pixel_values": images}, tmp_path / "pack.safetensors")
    assert found.metadata["packed"] == "2"
    np.testing.assert_array_equal(found.inputs["pixel_values.1"], images[1])
    outputs = {path: np.array(array) for path, array in found.activations.items()}
    assert compare(found, outputs, model=model).equal
    for path in outputs:
        if path.startswith("encoder.layers.1"):
            outputs[path] = outputs[path] * 2
    result = compare(found, outputs, model=model)
    assert not result.equal
    assert "of pictures of several sizes" in result.explanation
    assert "encoder.layers.1" in result.explanation
