import importlib.util
import re
from dataclasses import dataclass

import numpy as np
import pytest

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextConfig, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.tree.module import Module, Parameter
from tests.support.models import both_config, both_model, pixels, vision_model


@dataclass(repr=False, eq=False)
class Leaf(Module):
    weight: np.ndarray
    bias: np.ndarray | None
    factor: float

    def forward(self, x):
        return self.factor * x * self.weight


@dataclass(repr=False, eq=False)
class Tree(Module):
    first: Leaf
    leaves: list[Leaf]
    table: np.ndarray
    name: str

    def forward(self, x):
        return self.first(x)


def leaf(*values, bias=None):
    return Leaf(np.array(values, np.float32), bias, 2.0)


@pytest.fixture
def tree():
    return Tree(leaf(1, 2), [leaf(3), leaf(4, bias=np.zeros(1, np.float32))], np.ones((2, 3), np.float32), "setting")


def test_names_are_paths_of_fields_in_order(tree):
    names = ["first.weight", "leaves.0.weight", "leaves.1.weight", "leaves.1.bias", "table"]
    assert list(tree.state_dict()) == names
    assert list(tree.state_dict("a.b")) == [f"a.b.{name}" for name in names]
    assert [path for path, _ in tree.named_modules()] == ["", "first", "leaves.0", "leaves.1"]
    assert dict(tree.named_modules("root"))["root.leaves.1"] is tree.leaves[1]


def test_the_state_is_the_arrays_themselves(tree):
    state = tree.state_dict()
    assert state["table"] is tree.table
    assert state["leaves.1.weight"] is tree.leaves[1].weight


def test_a_model_reads_by_its_names():
    model = both_model()
    for path, array in model.state_dict().items():
        place = model
        for name in path.split("."):
            place = place[int(name)] if name.isdigit() else getattr(place, name)
        assert place is array


def test_names_are_the_checkpoints_names():
    """The keys that Transformers writes for a two-tower model with one block per tower."""
    block = [
        "rms_norm1.weight", *(f"attention.{p}_proj.weight" for p in ("q", "k", "v", "out")),
        "rms_norm2.weight", *(f"ffn.{p}_proj.weight" for p in ("gate", "up", "down")),
    ]  # fmt: skip
    vision = [
        "embeddings.patch_embed.weight", "embeddings.patch_embed.bias", "embeddings.rms_norm.weight",
        "embeddings.position_embedding.weight", *(f"encoder.layers.0.{name}" for name in block), "rms_norm.weight",
        "head.k_proj.weight", "head.v_proj.weight", "head.cls_token", "head.output_proj.weight",
        "head.output_proj.bias",
    ]  # fmt: skip
    text = [
        "embeddings.token_embedding.weight", "embeddings.position_embedding.weight",
        *(f"encoder.layers.0.{name}" for name in block), "rms_norm.weight",
    ]  # fmt: skip
    config = Aimv2Config(Aimv2VisionConfig(num_hidden_layers=1), Aimv2TextConfig(num_hidden_layers=1))
    expected = [f"vision_model.{name}" for name in vision] + [f"text_model.{name}" for name in text]
    expected += ["visual_projection.weight", "text_projection.weight", "logit_scale"]
    assert list(Aimv2Model.skeleton(config).state_dict()) == expected


def test_map_gives_a_new_tree_and_leaves_the_old_one(tree):
    paths = []

    def plus_one(path, array):
        paths.append(path)
        return array + 1

    mapped = tree.map(plus_one)
    assert paths == list(tree.state_dict())
    np.testing.assert_array_equal(mapped.leaves[0].weight, [4])
    np.testing.assert_array_equal(tree.leaves[0].weight, [3])
    assert mapped.name == "setting"
    assert mapped.first.factor == 2.0
    assert type(mapped) is Tree
    assert mapped.leaves is not tree.leaves
    assert mapped.leaves[0].bias is None


def test_calling_runs_forward(tree):
    np.testing.assert_array_equal(tree(np.array([1.0, 1.0], np.float32)), [2, 4])


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        Module()(1)


def test_converting_to_what_it_is_shares_every_array():
    model = vision_model()
    same = model.to("numpy", "float32")
    assert same is not model
    for path, array in same.state_dict().items():
        assert array is model.state_dict()[path]


@pytest.mark.parametrize("dtype", ["float64", "float16", "float32"])
def test_to_dtype(dtype):
    model = vision_model()
    converted = model.to(dtype=dtype)
    assert converted.dtype == dtype
    assert converted.backend == "numpy"
    assert model.dtype == "float32"
    for path, array in converted.state_dict().items():
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, model.state_dict()[path].astype(dtype))


def test_float64_and_back_is_exact():
    model = vision_model()
    back = model.to(dtype="float64").to(dtype="float32")
    for path, array in back.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[path])


@pytest.mark.parametrize("value", [70000.0, -70000.0])
def test_float16_that_would_overflow_names_the_array(tree, value):
    tree.leaves[1].weight[0] = value
    with pytest.raises(ValueError, match=r"leaves\.1\.weight does not fit float16.*7e\+04"):
        tree.to(dtype="float16")
    assert tree.dtype == "float32"


def test_float32_that_would_overflow_names_the_array(tree):
    wide = tree.to(dtype="float64")
    wide.table[0, 0] = 1e300
    with pytest.raises(ValueError, match="table does not fit float32"):
        wide.to(dtype="float32")


def test_float16_keeps_its_largest_number(tree):
    tree.leaves[1].weight[0] = 65504
    assert tree.to(dtype="float16").leaves[1].weight[0] == 65504


@pytest.mark.parametrize(("arguments", "message"), [
    ({"backend": "torch"}, r"backend is 'torch'.*numpy, cupy"),
    ({"backend": "NumPy"}, "backend is 'NumPy'"),
    ({"dtype": "int8"}, "dtype is 'int8'.*float32, float64, float16"),
])  # fmt: skip
def test_unknown_backend_or_dtype(arguments, message):
    with pytest.raises(ValueError, match=message):
        vision_model().to(**arguments)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_cupy_that_is_not_there_is_one_clear_error():
    with pytest.raises(ImportError, match=r"cupy backend needs CuPy.*pip install"):
        vision_model().to("cupy")


SIZES = {"large": (1024, 2816, 24), "huge": (1536, 4096, 24), "1B": (2048, 5632, 24), "3B": (3072, 8192, 24)}


def vision_parameters(hidden, intermediate, layers, patches, head=False):
    """Patches with bias, norm, positions; per block 4 D² + 3 DF and two norms; a norm; k, v, cls, out with bias."""
    embeddings = 3 * 14 * 14 * hidden + hidden + hidden + patches * hidden
    block = 4 * hidden**2 + 3 * hidden * intermediate + 2 * hidden
    return embeddings + layers * block + hidden + head * (3 * hidden**2 + 2 * hidden)


@pytest.mark.parametrize("pixel", [224, 336, 448])
@pytest.mark.parametrize("size", sorted(SIZES))
def test_parameters_of_the_released_sizes(size, pixel):
    """On skeletons: no array is made, or the 3B model alone would take 11 GB."""
    hidden, intermediate, layers = SIZES[size]
    config = Aimv2VisionConfig(
        hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=hidden // 128,
        image_size=pixel, use_head=False,
    )  # fmt: skip
    model = Aimv2VisionModel.skeleton(config)
    assert model.num_parameters() == vision_parameters(hidden, intermediate, layers, (pixel // 14) ** 2)
    assert all(isinstance(place, Parameter) for place in model.state_dict().values())


def test_parameters_of_large_are_309_million():
    count = Aimv2VisionModel.skeleton(Aimv2VisionConfig(use_head=False)).num_parameters()
    assert round(count / 1e6) == 309
    assert round(count * 4 / 1e9, 2) == 1.24
    native = Aimv2VisionModel.skeleton(Aimv2VisionConfig(use_head=False, is_native=True)).num_parameters()
    assert count - native == 256 * 1024


def test_parameters_of_the_two_tower_model():
    hidden, intermediate, layers = SIZES["large"]
    text = 49408 * 768 + 77 * 768 + 12 * (4 * 768**2 + 3 * 768 * 2048 + 2 * 768) + 768
    vision = vision_parameters(hidden, intermediate, layers, 256, head=True)
    model = Aimv2Model.skeleton(Aimv2Config(projection_dim=768))
    assert model.num_parameters() == vision + text + 768 * 1024 + 768 * 768 + 1


def test_repr_is_a_readable_tree():
    model = Aimv2Model.skeleton(Aimv2Config())
    text = repr(model)
    lines = text.splitlines()
    assert len(lines) < 60  # equal blocks share their lines
    assert lines[0].startswith("Aimv2Model")
    assert f"{model.num_parameters():,}" in lines[0]
    assert any(re.search(r"vision_model: VisionTower +[\d,]{11}", line) for line in lines)
    assert any("24 × EncoderLayer" in line for line in lines)
    assert any("12 × EncoderLayer" in line for line in lines)
    assert any("gate_proj: Linear" in line and "(2816, 1024)" in line for line in lines)
    assert max(map(len, lines)) < 120


def test_a_forward_pass_changes_nothing():
    model = vision_model()
    before = {path: array.copy() for path, array in model.state_dict().items()}
    for array in model.state_dict().values():
        array.flags.writeable = False
    model(pixels(), output_hidden_states=True, output_attentions=True)
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def test_absent_modules_have_no_names():
    names = Aimv2VisionModel.skeleton(Aimv2VisionConfig(use_head=False, is_native=True)).state_dict()
    assert not [name for name in names if name.startswith("head") or "position" in name]
    assert Aimv2Model.skeleton(both_config()).vision_model.head is not None
