import pytest

from aimv2_np import trace
from aimv2_np.comparison.naming import Naming, parse_mapping, rank, rename
from aimv2_np.storage import LAYOUTS
from tests.support.models import both_model, pixels, tokens, vision_model


@pytest.fixture(scope="module")
def vision_paths():
    model = vision_model()
    # without what lies inside of attention: there our own `head.k` means the heads of `head.k_proj`
    with trace(model, inner=False) as activations:
        model(pixels())
    return [path for path in activations if path not in ("head.k", "head.v")]


@pytest.fixture(scope="module")
def both_paths():
    model = both_model()
    with trace(model) as activations:
        model(pixel_values=pixels(), input_ids=tokens())
    return list(activations)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("encoder.layers.1.ffn", "encoder.layers.1.ffn"),
        ("vision_model.encoder.layers.1.ffn", "encoder.layers.1.ffn"),
        # Apple's PyTorch and MLX
        ("preprocessor.patchifier.proj", "embeddings.patch_embed"),
        ("preprocessor.patchifier.norm", "embeddings.rms_norm"),
        ("preprocessor.patchifier", "embeddings.rms_norm"),
        ("preprocessor", "embeddings"),
        ("trunk.blocks.0.norm_1", "encoder.layers.0.rms_norm1"),
        ("trunk.blocks.0.attn", "encoder.layers.0.attention"),
        ("trunk.blocks.0.attn.proj", "encoder.layers.0.attention.out_proj"),
        ("trunk.blocks.1.mlp.fc1", "encoder.layers.1.ffn.gate_proj"),
        ("trunk.blocks.1.mlp.fc3", "encoder.layers.1.ffn.up_proj"),
        ("trunk.blocks.1.mlp.fc2", "encoder.layers.1.ffn.down_proj"),
        ("trunk.blocks.1", "encoder.layers.1"),
        ("trunk.post_trunk_norm", "rms_norm"),
        ("head.linear", "head.output_proj"),
        ("head.k", "head.k_proj"),
        # Flax
        ("trunk/layers_1/mlp/fc3", "encoder.layers.1.ffn.up_proj"),
        # timm
        ("patch_embed.proj", "embeddings.patch_embed"),
        ("patch_embed.norm", "embeddings.rms_norm"),
        ("patch_embed", "embeddings.rms_norm"),
        ("blocks.0.norm2", "encoder.layers.0.rms_norm2"),
        ("blocks.0.mlp.fc1_g", "encoder.layers.0.ffn.gate_proj"),
        ("blocks.0.mlp.fc1_x", "encoder.layers.0.ffn.up_proj"),
        ("norm", "rms_norm"),
        # ONNX graphs
        ("/vision_model/encoder/layers.0/ffn/gate_proj/MatMul_output_0", "encoder.layers.0.ffn.gate_proj"),
        ("/encoder/layers.0/attention/out_proj/Add_output_0", "encoder.layers.0.attention.out_proj"),
        ("/encoder/layers.1/Add_1_output_0", "encoder.layers.1"),
        ("/encoder/layers.1/rms_norm1/Mul_1_output_0", "encoder.layers.1.rms_norm1"),
        ("/embeddings/patch_embed/Conv_output_0", "embeddings.patch_embed"),
        # operators in the middle of a module
        ("/encoder/layers.1/attention/Reshape_3_output_0", None),
        ("/encoder/layers.1/attention/MatMul_1_output_0", None),
        ("/encoder/layers.1/rms_norm1/Pow_output_0", None),
        ("/encoder/layers.1/ffn/Mul_output_0", None),
        ("something.else", None),
        ("", None),
    ],
)
def test_the_table(theirs, ours, vision_paths):
    assert Naming(vision_paths)(theirs) == ours


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("image_encoder.trunk.blocks.1.attn.proj", "vision_model.encoder.layers.1.attention.out_proj"),
        ("text_encoder.trunk.blocks.0.mlp", "text_model.encoder.layers.0.ffn"),
        ("text_encoder.preprocessor.text_embedding", "text_model.embeddings.token_embedding"),
        ("image_projector", "visual_projection"),
        ("text_projector", "text_projection"),
    ],
)
def test_two_towers(theirs, ours, both_paths):
    assert Naming(both_paths)(theirs) == ours


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_module_that_a_layout_names_is_ours(layout):
    """Each layout's name of a weight, without what it calls the weight itself, leads to the weight's module."""
    weights = [name for name in vision_model().state_dict() if layout != "timm" or not name.startswith("head.")]
    paths = [name.rpartition(".")[0] for name in weights]
    naming = Naming(paths)
    for theirs, (_, names) in LAYOUTS[layout].arrange(weights).items():
        if len(names) == 1 and theirs.endswith((".weight", ".bias", "/kernel", "/scale", "/bias")):
            module = theirs.replace("/", ".").removeprefix("params.").rpartition(".")[0]
            assert naming(module) == names[0].rpartition(".")[0], theirs


def test_our_own_paths_stay(both_paths):
    naming = Naming(both_paths)
    assert [naming(path) for path in both_paths] == both_paths


def test_rules_with_captures():
    ours = [f"encoder.layers.{i}.{name}" for i in range(12) for name in ("ffn", "attention")]
    naming = Naming(ours, ["stage.*.*_out=encoder.layers.*.*", "special=encoder.layers.3.ffn"])
    assert naming("stage.11.ffn_out") == "encoder.layers.11.ffn"
    assert naming("stage.2.attention_out") == "encoder.layers.2.attention"
    assert naming("special") == "encoder.layers.3.ffn"
    assert naming("stage.99.ffn_out") is None


def test_rules_go_before_the_table():
    naming = Naming(["rms_norm", "encoder.layers.0"], {"norm": "encoder.layers.0"})
    assert naming("norm") == "encoder.layers.0"


def test_a_rule_is_literal_but_for_its_stars():
    assert Naming(["x"], {"a.b[0]": "x"})("a.b[0]") == "x"
    assert Naming(["x"], {"a.b": "x"})("a-b") is None


@pytest.mark.parametrize("wrong", [["no equals sign"], ["=ours"], ["theirs="], ["a=b.*"], {"a.*": "b.*.*"}])
def test_rules_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=r"mapping is .*; expected 'theirs=ours'"):
        parse_mapping(wrong)


def test_of_several_operators_the_last_one_of_the_module_counts():
    norm = [f"/rms_norm/{op}_output_0" for op in ("Mul_1", "Mul")]
    linear = [f"/q_proj/{op}_output_0" for op in ("Add", "MatMul")]
    assert max(norm, key=rank) == norm[0]
    assert max(linear, key=rank) == linear[0]
    assert rank("q_proj") == (0, 0)
    assert rank("/q_proj/Softmax") == (0, 0)
    assert rank("/q_proj/Mul_" + "1" * 5000) == (0, 0)  # more digits than Python makes a number of


def test_renaming_leaves_what_it_does_not_know():
    assert rename("a.b.c") == "a.b.c"
    assert rename("blocks") == "blocks"
