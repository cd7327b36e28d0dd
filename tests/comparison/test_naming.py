import pytest

from aimv2_np import trace
from aimv2_np.comparison.naming import Naming, rename
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
    weights = [name for name in vision_model().state_dict() if LAYOUTS[layout].both or not name.startswith("head.")]
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


def test_renaming_leaves_what_it_does_not_know():
    assert rename("a.b.c") == "a.b.c"
    assert rename("blocks") == "blocks"


def found(ours, theirs, mapping=None):
    naming = Naming(ours, mapping, theirs)
    return {name: naming(name) for name in theirs}


@pytest.mark.parametrize(
    "prefix",
    ["model.", "module.", "_orig_mod.", "module._orig_mod.", "/m/", "model.visual_tokenizer.backbone.", "a.b."],
)
def test_what_stands_before_the_names_is_found(prefix, vision_paths):
    paths = [path for path in vision_paths if not path.endswith((".q", ".k", ".v"))]
    theirs = [prefix + path for path in paths]
    assert list(found(paths, theirs).values()) == paths


def test_wrappers_may_stand_anywhere(both_paths):
    theirs = ["vision_model._orig_mod.encoder.layers.0.ffn", "text_model.encoder.layers.1._fsdp_wrapped_module.ffn"]
    assert list(found(both_paths, theirs).values()) == [
        "vision_model.encoder.layers.0.ffn", "text_model.encoder.layers.1.ffn",
    ]  # fmt: skip


def test_prefixes_of_two_towers(both_paths):
    theirs = ["visual.encoder.layers.0.ffn", "txt.encoder.layers.0.ffn", "txt.trunk.blocks.1.norm_1"]
    assert list(found(both_paths, theirs).values()) == [
        "vision_model.encoder.layers.0.ffn", "text_model.encoder.layers.0.ffn", "text_model.encoder.layers.1.rms_norm1",
    ]  # fmt: skip


def test_the_other_tower_is_not_this_one(vision_paths):
    theirs = ["vision_model.encoder.layers.0.ffn", "text_model.encoder.layers.0.ffn"]
    assert list(found(vision_paths, theirs).values()) == ["encoder.layers.0.ffn", None]


def test_one_component_is_no_sign_of_a_prefix(vision_paths):
    assert found(vision_paths, ["classifier.norm", "my.head"]) == {"classifier.norm": None, "my.head": None}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        # Ovis2 in Transformers
        ("model.vision_tower.transformer.embeddings.patch_embedding", "embeddings.patch_embed"),
        ("model.vision_tower.transformer.encoder.layers.1.attention.k_proj", "encoder.layers.1.attention.k_proj"),
        # llama.cpp
        ("v.blk.1.attn_q", "encoder.layers.1.attention.q_proj"),
        ("v.blk.1.attn_out", "encoder.layers.1.attention.out_proj"),
        ("v.blk.0.ffn_down", "encoder.layers.0.ffn.down_proj"),
        ("v.blk.0.ln2", "encoder.layers.0.rms_norm2"),
        ("v.patch_embd", "embeddings.patch_embed"),
        ("v.post_ln", "rms_norm"),
        # Transformers' hidden states
        ("hidden_states.0", "embeddings"),
        ("model.hidden_states.2", "encoder.layers.1"),
    ],
)
def test_the_names_of_others(theirs, ours, vision_paths):
    assert found(vision_paths, [theirs, "model.vision_tower.transformer.encoder.layers.0.ffn"])[theirs] == ours


def test_the_temporary_values_of_compilers_are_no_hidden_states(vision_paths):
    theirs = [f"hidden_states.{i}" for i in range(1, 50, 2)]
    assert set(found(vision_paths, theirs).values()) == {None}


def test_the_tables_apply_after_the_callers_rules(both_paths):
    theirs = ["net.trunk.blocks.0.mlp"]
    assert found(both_paths, theirs, ["net.*=image_encoder.*"]) == {theirs[0]: "vision_model.encoder.layers.0.ffn"}


def test_a_rule_that_is_of_no_use_is_an_error(vision_paths):
    theirs = ["blk.0.ffn_out", "blk.1.ffn_out"]
    with pytest.raises(ValueError, match=r"fits no name of the other side; did you mean blk\.[01]\.ffn_out"):
        found(vision_paths, theirs, ["blk.*.fnn_out=encoder.layers.*.ffn"])
    with pytest.raises(ValueError, match=r"makes 'encoder\.layers\.0\.fnn' of .* did you mean encoder\.layers\.0\.ffn"):
        found(vision_paths, theirs, ["blk.*.ffn_out=encoder.layers.*.fnn"])
    assert (
        found(vision_paths, theirs, ["blk.*.ffn_out=encoder.layers.*.ffn"])["blk.1.ffn_out"] == "encoder.layers.1.ffn"
    )
