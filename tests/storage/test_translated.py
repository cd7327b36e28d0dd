"""aimv2_np/storage/translated.py: another layout's tensors under our names, copied only where they have to be."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from aimv2_np.errors import CheckpointError
from aimv2_np.storage import LAYOUTS, open_checkpoint, open_source, save_safetensors
from aimv2_np.storage.translated import translated
from tests.support.layouts import ALL, NETWORKS, folder_of
from tests.support.paths import FIXTURES

QKV = "encoder.layers.1.attention.{}_proj.weight"


@pytest.mark.parametrize(("network", "layout"), ALL)
def test_every_tensor_has_a_name_of_ours(tmp_path, network, layout):
    source = open_source(folder_of(tmp_path, network, layout))
    ours = {name for rows in (LAYOUTS["transformers"].vision, LAYOUTS["transformers"].text) for name in (
        row.ours.replace("{i}", i) for row in rows for i in "01")}  # fmt: skip
    ours |= {prefix + name for name in ours for prefix in ("vision_model.", "text_model.")}
    ours |= {row.ours for row in LAYOUTS["transformers"].both}
    assert set(source.tensors.shapes) <= ours
    for name, shape in source.tensors.shapes.items():
        assert source.tensors.read(name).shape == source.tensors.stored(name).shape == shape
        assert source.tensors.dtypes[name] == "F32"


@pytest.mark.parametrize("network", NETWORKS)
def test_the_three_layouts_of_apple_hold_the_same(tmp_path, network):
    apple, mlx, flax = (
        open_source(folder_of(tmp_path, network, layout)).tensors for layout in ("apple", "mlx", "flax")
    )
    assert apple.shapes == mlx.shapes == flax.shapes
    for name in apple.shapes:
        np.testing.assert_array_equal(apple.read(name), mlx.read(name))
        np.testing.assert_array_equal(apple.read(name), flax.read(name))


@pytest.mark.parametrize("layout", ["apple", "timm"])
def test_stacked_projections_are_views_of_the_file(tmp_path, layout):
    network = "timm" if layout == "timm" else "apple-absolute"
    source = open_source(folder_of(tmp_path, network, layout))
    stack = source.checkpoint.stored(f"{'' if layout == 'timm' else 'trunk.'}blocks.1.attn.qkv.weight")
    for part, letter in enumerate("qkv"):
        array = source.tensors.read(QKV.format(letter))
        np.testing.assert_array_equal(array, stack[32 * part : 32 * (part + 1)])
        assert np.shares_memory(array, stack)
        assert array.flags.c_contiguous
        assert not array.flags.writeable


def test_moved_axes_are_copies_in_order(tmp_path):
    source = open_source(folder_of(tmp_path, "apple-absolute", "mlx"))
    stored = source.checkpoint.stored("preprocessor.patchifier.proj.weight")
    array = source.tensors.read("embeddings.patch_embed.weight")
    np.testing.assert_array_equal(array, stored.transpose(0, 3, 1, 2))
    assert array.flags.c_contiguous
    assert not np.shares_memory(array, stored)
    assert np.shares_memory(source.tensors.stored("embeddings.patch_embed.weight"), stored)


@pytest.mark.parametrize("layout", ["apple", "flax"])
def test_other_dtypes_are_converted_part_by_part(tmp_path, layout):
    source = open_source(folder_of(tmp_path, "apple-absolute", layout))
    whole = load_file(FIXTURES / "apple-absolute" / "model.safetensors")["trunk.blocks.1.attn.qkv.weight"]
    for part, letter in enumerate("qkv"):
        array = source.tensors.read(QKV.format(letter), "float16")
        np.testing.assert_array_equal(array, whole[32 * part : 32 * (part + 1)].astype("f2"))
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        source.tensors.read(QKV.format("q"), "int8")


def save(tmp_path, **state):
    save_safetensors(tmp_path / "model.safetensors", {name.replace("__", "."): value for name, value in state.items()})
    return open_checkpoint(tmp_path)


def test_a_stack_that_is_none(tmp_path):
    checkpoint = save(tmp_path, trunk__blocks__0__attn__qkv__weight=np.zeros((4, 2), "f4"))
    with pytest.raises(CheckpointError, match=r"qkv\.weight' has the shape \(4, 2\); expected 3 tensors stacked"):
        translated(checkpoint, LAYOUTS["apple"])


def test_two_layouts_mixed(tmp_path):
    norm = {"trunk__post_trunk_norm__weight": np.zeros(2, "f4"), "rms_norm__weight": np.zeros(2, "f4")}
    with pytest.raises(CheckpointError, match=r"holds rms_norm\.weight twice"):
        translated(save(tmp_path, **norm), LAYOUTS["apple"])


def test_unknown_names_stay(tmp_path):
    checkpoint = save(tmp_path, decoder__weight=np.full(2, 7, "f4"), trunk__post_trunk_norm__weight=np.zeros(2, "f4"))
    tensors = translated(checkpoint, LAYOUTS["apple"])
    assert tensors.shapes == {"decoder.weight": (2,), "rms_norm.weight": (2,)}
    np.testing.assert_array_equal(tensors.read("decoder.weight"), [7, 7])
    np.testing.assert_array_equal(tensors.stored("decoder.weight"), [7, 7])
    with pytest.raises(KeyError, match="no tensor 'trunk'"):
        tensors.read("trunk")
