"""aimv2_np/tasks/convert.py and aimv2_np/storage/relayout.py: there and back, byte for byte."""

import dataclasses
import json
import os

import msgpack
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from aimv2_np import Aimv2VisionModel, CheckpointError, load
from aimv2_np.data import tiny_model_path
from aimv2_np.storage import LAYOUTS, open_checkpoint, open_source, save_safetensors
from aimv2_np.tasks import convert
from tests.support.layouts import ALL, APPLE, FILES, folder_of, recorded
from tests.support.paths import FIXTURES
from tests.support.two_towers import save_text_tower, save_two_towers, save_vision_tower

TARGETS = ("transformers", *APPLE)


def stored(folder):
    """Name → (dtype, shape, bytes) of all that a folder stores."""
    checkpoint = open_checkpoint(folder)
    return {
        name: (checkpoint.dtypes[name], shape, checkpoint.stored(name).tobytes())
        for name, shape in checkpoint.shapes.items()
    }


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("network", "layout"), ALL)
def test_a_round_trip_keeps_every_byte(tmp_path, network, layout, target):
    before = folder_of(tmp_path, network, layout)
    there = convert(before, tmp_path / "there", target)
    assert (there.before, there.after, there.dtype) == (layout, target, "float32")
    back = convert(tmp_path / "there", tmp_path / "back", layout)
    assert (back.before, back.after) == (target, layout)
    assert stored(tmp_path / "back") == stored(before)
    assert load(tmp_path / "back").config == load(before).config
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == sorted(["config.json", FILES[layout]])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("network", ["apple-lit", "apple-absolute", "apple-native"])
def test_what_is_written_computes_what_apple_recorded(tmp_path, network, target):
    convert(FIXTURES / network, tmp_path / "out", target)
    inputs, outputs = recorded(network)
    model = load(tmp_path / "out")
    result = model(**inputs)
    name = "logits_per_image" if network == "apple-lit" else "last_hidden_state"
    np.testing.assert_allclose(result[name], outputs[name], rtol=0, atol=1e-5)
    assert open_source(tmp_path / "out").layout.name == target


@pytest.mark.parametrize("network", ["apple-lit", "apple-absolute", "apple-native"])
def test_flax_files_are_apples_to_the_byte(tmp_path, network):
    convert(FIXTURES / network, tmp_path / "out", "flax")
    assert (tmp_path / "out" / FILES["flax"]).read_bytes() == (FIXTURES / network / FILES["flax"]).read_bytes()


@pytest.mark.parametrize("network", ["apple-lit", "apple-absolute", "apple-native"])
def test_mlx_tensors_are_apples(tmp_path, network):
    convert(FIXTURES / network, tmp_path / "out", "mlx")
    ours, theirs = (load_file(folder / FILES["mlx"]) for folder in (tmp_path / "out", FIXTURES / network))
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
    with safe_open(tmp_path / "out" / FILES["mlx"], "np") as file:
        assert file.metadata() == {"format": "mlx"}


def test_timm_tensors_are_timms(tmp_path):
    convert(FIXTURES / "timm", tmp_path / "ours", "transformers")
    convert(tmp_path / "ours", tmp_path / "timm", "timm")
    assert stored(tmp_path / "timm") == stored(FIXTURES / "timm")
    values, theirs = (json.loads((f / "config.json").read_text()) for f in (tmp_path / "timm", FIXTURES / "timm"))
    assert values == theirs


@pytest.mark.parametrize("target", [*TARGETS, "timm"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(tmp_path, dtype, target):
    done = convert(FIXTURES / "timm", tmp_path / "out", target, dtype=dtype)
    assert done.dtype == dtype
    code = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}[dtype]
    source = open_source(tmp_path / "out")
    assert set(source.tensors.dtypes.values()) == {code}
    whole = open_source(FIXTURES / "timm").tensors
    # Half an ulp: 11, 8 and 24 bits of precision.
    tolerance = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 0}[dtype]
    for name in whole.shapes:
        np.testing.assert_allclose(source.tensors.read(name), whole.read(name), rtol=tolerance, atol=1e-7)
    again = convert(tmp_path / "out", tmp_path / "again", "timm")  # the same: 16 bits stay 16 bits
    assert again.dtype == dtype
    assert set(open_checkpoint(tmp_path / "again").dtypes.values()) == {code}


def test_bfloat16_in_flax_is_what_flax_calls_it(tmp_path):
    convert(FIXTURES / "apple-native", tmp_path / "out", "flax", dtype="bfloat16")
    data = (tmp_path / "out" / FILES["flax"]).read_bytes()
    tree = msgpack.unpackb(data, ext_hook=lambda _, data: msgpack.unpackb(data))
    shape, dtype, raw = tree["params"]["trunk"]["post_trunk_norm"]["scale"]
    assert (shape, dtype, len(raw)) == ([32], "bfloat16", 64)


@pytest.mark.parametrize("layout", TARGETS)
@pytest.mark.parametrize("save", [save_two_towers, save_text_tower, save_vision_tower])
def test_our_own_checkpoints_with_all_that_is_beside_them(tmp_path, save, layout):
    folder = save(tmp_path / "ours")
    convert(folder, tmp_path / "there", layout)
    convert(tmp_path / "there", tmp_path / "back", "transformers")
    assert stored(tmp_path / "back") == stored(folder)
    assert load(tmp_path / "back").config == load(folder).config
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "back").iterdir())) == len(list(folder.iterdir()))


def test_biases_and_one_tower_without_head(tmp_path):
    folder = save_vision_tower(tmp_path / "ours", qkv_bias=True, mlp_bias=True, use_head=False)
    for layout in LAYOUTS:
        convert(folder, tmp_path / layout, layout)
        convert(tmp_path / layout, tmp_path / f"{layout}-back")
        assert stored(tmp_path / f"{layout}-back") == stored(folder)
        back = load(tmp_path / f"{layout}-back").config
        # timm's config.json has no place for it, and it means nothing to a network that has its weights.
        assert dataclasses.replace(back, initializer_range=0.3) == load(folder).config


def test_large_checkpoints_of_transformers_are_sharded_and_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr("aimv2_np.storage.relayout.SHARD_SIZES", {"transformers": 20_000})
    convert(FIXTURES / "timm", tmp_path / "shards", "transformers")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    convert(tmp_path / "shards", tmp_path / "one", "timm")
    assert stored(tmp_path / "one") == stored(FIXTURES / "timm")


def test_nothing_is_overwritten_unless_asked(tmp_path):
    convert(FIXTURES / "timm", tmp_path / "out", "transformers")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for layout in LAYOUTS:
        with pytest.raises(FileExistsError, match="exists already"):
            convert(FIXTURES / "timm", tmp_path / "out", layout)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("after", LAYOUTS)
@pytest.mark.parametrize("before", LAYOUTS)
def test_overwriting_leaves_the_new_checkpoint_alone(tmp_path, before, after):
    save_vision_tower(tmp_path / "old", use_head=False)
    convert(tmp_path / "old", tmp_path / "out", before)
    convert(FIXTURES / "timm", tmp_path / "out", after, overwrite=True)
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"preprocessor_config.json"}
    assert names == {"config.json", LAYOUTS[after].file}
    assert load(tmp_path / "out").num_parameters() == load(FIXTURES / "timm").num_parameters()


@pytest.mark.parametrize(("layout", "call"), [("flax", "_write_array"), ("mlx", "raw"), ("transformers", "raw")])
def test_an_interrupted_conversion_leaves_what_was_there(tmp_path, monkeypatch, layout, call):
    convert(FIXTURES / "timm", tmp_path / "out", "timm")
    before = stored(tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device")

    place = "aimv2_np.storage.formats.messagepack_writer" if layout == "flax" else "aimv2_np.storage.formats.lazy.Lazy"
    monkeypatch.setattr(f"{place}.{call}", full)
    with pytest.raises(OSError, match="No space left"):
        convert(FIXTURES / "apple-native", tmp_path / "out", layout, overwrite=True)
    assert stored(tmp_path / "out") == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]


def test_the_folder_itself_is_no_target(tmp_path):
    folder = folder_of(tmp_path, "timm", "timm")
    with pytest.raises(ValueError, match="choose another folder"):
        convert(folder, os.path.relpath(folder), "apple", overwrite=True)
    assert load(folder).num_parameters()


@pytest.mark.parametrize("options", [{"layout": "keras"}, {"layout": "mlx", "dtype": "int4"}])
def test_choices_there_are_none_of(tmp_path, options):
    with pytest.raises(ValueError, match="expected one of"):
        convert(FIXTURES / "timm", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("network", ["apple-lit", "apple-native"])
def test_what_timm_has_no_place_for(tmp_path, network):
    with pytest.raises(ValueError, match="choose another"):
        convert(FIXTURES / network, tmp_path / "out", "timm")
    assert not (tmp_path / "out").exists()


def test_an_incomplete_checkpoint_is_not_converted(tmp_path):
    folder = folder_of(tmp_path, "timm", "timm")
    state = load_file(folder / "model.safetensors")
    del state["blocks.0.norm1.weight"]
    save_safetensors(folder / "model.safetensors", state, overwrite=True)
    with pytest.raises(CheckpointError, match=r"1 missing \(encoder\.layers\.0\.rms_norm1\.weight\)"):
        convert(folder, tmp_path / "out", "apple")


def test_numbers_that_do_not_fit(tmp_path):
    model = Aimv2VisionModel.from_pretrained(save_vision_tower(tmp_path / "ours"))
    large = model.map(lambda path, array: array * np.float32(1e9) if path == "rms_norm.weight" else array)
    large.save_pretrained(tmp_path / "large")
    with pytest.raises(CheckpointError, match=r"'rms_norm\.weight' holds .* more than float16 can"):
        convert(tmp_path / "large", tmp_path / "out", "apple", dtype="float16")
    assert not list((tmp_path / "out").iterdir())


def test_stacks_of_mixed_dtypes(tmp_path):
    folder = save_vision_tower(tmp_path / "ours")
    state = load_file(folder / "model.safetensors")
    name = "encoder.layers.0.attention.k_proj.weight"
    save_safetensors(folder / "model.safetensors", {**state, name: state[name].astype("f2")}, overwrite=True)
    with pytest.raises(ValueError, match=r"F16 and F32 would be stacked in .*qkv.*; choose one dtype"):
        convert(folder, tmp_path / "out", "mlx")
    convert(folder, tmp_path / "out", "mlx", dtype="float32")
    convert(folder, tmp_path / "same", "transformers")
    assert stored(tmp_path / "same") == stored(folder)


def test_files_beside_are_not_taken_from_elsewhere(tmp_path):
    folder = folder_of(tmp_path, "timm", "timm")
    (tmp_path / "secret").write_text("secret")
    (folder / "tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        convert(folder, tmp_path / "out", "apple")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_are_kept_even_where_they_are_no_numbers(tmp_path, layout):
    folder = folder_of(tmp_path, "timm", "timm")
    state = load_file(folder / "model.safetensors")
    state["blocks.1.attn.qkv.weight"] = np.arange(96 * 32, dtype="u4").reshape(96, 32).view("f4") + np.float32(0)
    state["blocks.0.attn.qkv.weight"].view("u4")[:, ::3] = 0x7FA12345  # a NaN with a message
    save_safetensors(folder / "model.safetensors", state, overwrite=True)
    convert(folder, tmp_path / "there", layout)
    convert(tmp_path / "there", tmp_path / "back", "timm")
    assert stored(tmp_path / "back") == stored(folder)


MATRICES = ("q_proj", "k_proj", "v_proj", "out_proj", "gate_proj", "up_proj", "down_proj", "output_proj", "projection")


def test_int8_is_compressed_tensors(tmp_path):
    done = convert(tiny_model_path(), tmp_path / "out", dtype="int8")
    assert done.dtype == "int8"
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert values["quantization_config"]["format"] == "int-quantized"
    assert values["dtype"] == "float32"  # of all else, and of what is computed
    stored, before = load_file(tmp_path / "out" / "model.safetensors"), load(tiny_model_path()).state_dict()
    for name, weight in before.items():
        if name.endswith(tuple(f"{end}.weight" for end in MATRICES)):
            scale = stored.pop(name + "_scale")
            assert (stored[name].dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (len(weight), 1))
            assert (np.abs(stored[name] * scale - weight) <= 0.5001 * scale).all()
        else:
            np.testing.assert_array_equal(stored[name], weight)
    assert stored.keys() == before.keys()


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, dtype, number):
    save_vision_tower(tmp_path / "model")
    state = load_file(tmp_path / "model" / "model.safetensors")
    state["encoder.layers.0.ffn.up_proj.weight"][1, 2] = number
    save_safetensors(tmp_path / "model" / "model.safetensors", state, overwrite=True)
    with pytest.raises(CheckpointError, match=r"up_proj.*not finite"):
        convert(tmp_path / "model", tmp_path / "out", dtype=dtype)
    assert not (tmp_path / "out" / "config.json").exists()
    with pytest.raises(CheckpointError, match=r"up_proj.*not finite"):
        load(tmp_path / "model", dtype="bfloat16")


def test_int8_there_and_back(tmp_path):
    convert(tiny_model_path(), tmp_path / "int8", dtype="int8")
    for dtype in ("same", "int8"):
        convert(tmp_path / "int8", tmp_path / dtype / "again", dtype=dtype)
        for name in ("config.json", "model.safetensors"):
            assert (tmp_path / dtype / "again" / name).read_bytes() == (tmp_path / "int8" / name).read_bytes()
    convert(tmp_path / "int8", tmp_path / "wide", dtype="float32")
    assert "quantization_config" not in json.loads((tmp_path / "wide" / "config.json").read_text())
    narrow, wide = (load(tmp_path / name).state_dict() for name in ("int8", "wide"))
    for name, array in wide.items():
        np.testing.assert_array_equal(np.asarray(narrow[name]), array)
    with pytest.raises(ValueError, match="in int8, for which the Apple PyTorch layout has no place; choose"):
        convert(tmp_path / "int8", tmp_path / "apple", "apple")
    convert(tmp_path / "int8", tmp_path / "apple", "apple", dtype="bfloat16")
    assert load(tmp_path / "apple").num_parameters() == load(tmp_path / "int8").num_parameters()
