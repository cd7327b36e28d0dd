"""An AIMv2 inside other checkpoints: found from the names, computed as it is alone, and what is beside it is listed."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from aimv2_np import Aimv2Model, Aimv2VisionModel, CheckpointError, load
from aimv2_np.cli.app import app
from aimv2_np.storage import expected_config
from aimv2_np.storage.inside import LeftAside
from aimv2_np.tasks import convert, describe
from tests.support.layouts import folder_of
from tests.support.models import both_model, pixels, tokens, vision_config, vision_model

BESIDE = {"llm.model.layers.0.mlp.gate_proj.weight": 2, "vte.weight": 3}
PREFIXES = [
    "module.", "model.", "backbone.", "aimv2.", "visual_tokenizer.backbone.", "vision_tower.vision_model.",
    "base_model.model.", "a.b.c.d.", "timm_model.", "visual.trunk.", "module._orig_mod.", "teacher/",
]  # fmt: skip


def rewritten(folder, prefix, config=None, beside=BESIDE, weights="model.safetensors"):
    """The checkpoint in `folder` with a prefix before its names, other tensors beside, and another config.json."""
    state = {prefix + name: array for name, array in load_file(folder / weights).items()}
    save_file({**state, **{name: np.full(4, value, "f4") for name, value in beside.items()}}, folder / weights)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config(json.loads((folder / "config.json").read_text()))))
    return folder


def assert_same(loaded, model):
    state = model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    for path, array in loaded.state_dict().items():
        np.testing.assert_array_equal(array, state[path])
    assert loaded.config == model.config


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("build", [vision_model, both_model])
def test_behind_any_prefix(tmp_path, prefix, build):
    model = build()
    model.save_pretrained(tmp_path / "saved")
    loaded = load(rewritten(tmp_path / "saved", prefix))
    assert_same(loaded, model)
    assert sorted(loaded.left_aside) == sorted(BESIDE)
    np.testing.assert_array_equal(loaded.left_aside["vte.weight"], np.full(4, 3, "f4"))


@pytest.mark.parametrize("prefix", PREFIXES[:6])
@pytest.mark.parametrize(("network", "layout"), [
    ("apple-lit", "apple"), ("apple-absolute", "apple"), ("apple-native", "apple"), ("apple-native", "mlx"),
    ("timm", "timm"),
])  # fmt: skip
def test_in_any_layout(tmp_path, network, layout, prefix):
    folder = folder_of(tmp_path, network, layout)
    plain = load(folder)
    weights = "mlx_model.safetensors" if layout == "mlx" else "model.safetensors"
    (tmp_path / "other").mkdir()
    other = folder_of(tmp_path / "other", network, layout)
    assert_same(load(rewritten(other, prefix, weights=weights)), plain)


@pytest.mark.parametrize("build", [vision_model, both_model])
def test_of_pictures_that_are_no_square(tmp_path, build):
    changes = {"image_size": (8, 24)}
    model = build(**changes if build is vision_model else {"vision_config": vision_config(**changes)})
    model.save_pretrained(tmp_path / "saved")
    assert_same(load(rewritten(tmp_path / "saved", "module.")), model)


def original_ovis2(backbone):
    return {
        "model_type": "ovis", "hidden_size": 4096, "llm_config": {"model_type": "qwen2", "hidden_size": 32},
        "visual_tokenizer_config": {
            "model_type": "aimv2_visual_tokenizer", "vocab_size": 65536, "tau": 1.0,
            "backbone_config": {**backbone, "model_type": "aimv2"},
        },
        "quantization_config": {"of": "the language model"},
    }  # fmt: skip


def test_ovis2_as_its_authors_publish_it(tmp_path):
    plain = load(folder_of(tmp_path, "apple-absolute", "apple"))
    (tmp_path / "ovis").mkdir()
    folder = folder_of(tmp_path / "ovis", "apple-absolute", "apple")
    beside = {"visual_tokenizer.head.0.weight": 1, "visual_tokenizer.head.1.weight": 1, "vte.weight": 1, **BESIDE}
    loaded = load(rewritten(folder, "visual_tokenizer.backbone.", original_ovis2, beside))
    assert_same(loaded, plain)
    assert loaded.left_aside.parts() == {"llm": 1, "vte": 1, "visual_tokenizer.head": 2}
    assert describe(folder).left_aside == loaded.left_aside.parts()


def test_a_fork_inside_is_refused(tmp_path):
    folder = folder_of(tmp_path, "apple-absolute", "apple", disable_rope=False)
    with pytest.raises(CheckpointError, match=r"disable_rope is False"):
        load(rewritten(folder, "visual_tokenizer.backbone.", original_ovis2))


@pytest.mark.parametrize(("prefix", "wrap"), [
    ("timm_model.", lambda values: {**values, "model_type": "timm_wrapper", "do_pooling": True}),
    ("visual.trunk.", lambda values: {**values, "model_type": "timm_wrapper"}),
    ("model.", lambda values: {"model_type": "vlm", "vision_config": {**values, "model_type": "timm_wrapper"}}),
])  # fmt: skip
def test_around_timms(tmp_path, prefix, wrap):
    plain = load(folder_of(tmp_path, "timm", "timm"))
    (tmp_path / "other").mkdir()
    folder = rewritten(folder_of(tmp_path / "other", "timm", "timm"), prefix, wrap)
    loaded = load(folder)
    assert_same(loaded, plain)
    assert describe(folder).problem is None


def test_timms_arguments_that_change_the_mathematics(tmp_path):
    arguments = json.loads((folder_of(tmp_path, "timm", "timm") / "config.json").read_text())["model_args"]
    (tmp_path / "other").mkdir()
    with pytest.raises(CheckpointError, match=r"model_args\.reg_tokens is 4"):
        load(folder_of(tmp_path / "other", "timm", "timm", model_args={**arguments, "reg_tokens": 4}))


def test_a_part_of_the_configuration_that_agrees_with_the_tensors(tmp_path):
    model = vision_model()
    model.save_pretrained(tmp_path / "saved")

    def wrap(values):
        tower = {key: value for key, value in values.items() if key != "model_type"}
        return {"model_type": "vlm", "text": {"hidden_size": 99, "num_attention_heads": 3}, "deep": {"er": tower}}

    assert_same(load(rewritten(tmp_path / "saved", "vision_tower.vision_model.", wrap)), model)


def test_one_of_a_list_of_configurations(tmp_path):
    model = vision_model()
    model.save_pretrained(tmp_path / "saved")
    wrap = lambda values: {"model_type": "vlm", "towers": [{"hidden_size": 99}, values, 7]}  # noqa: E731
    assert_same(load(rewritten(tmp_path / "saved", "tower.", wrap)), model)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_beside_it_may_be_what_are_no_floats(tmp_path, dtype):
    model = vision_model()
    model.save_pretrained(tmp_path / "saved")
    rewritten(tmp_path / "saved", "", beside={})
    state = load_file(tmp_path / "saved" / "model.safetensors")
    save_file({**state, "classifier.steps": np.array([1, 0], dtype)}, tmp_path / "saved" / "model.safetensors")
    loaded = load(tmp_path / "saved")
    assert_same(loaded, model)
    assert loaded.left_aside["classifier.steps"].dtype == dtype
    assert loaded.left_aside["classifier.steps"].tolist() == [1, 0]


def test_without_the_heads_it_is_no_guess(tmp_path):
    vision_model().save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="num_attention_heads is absent"):
        load(rewritten(tmp_path / "saved", "vision_tower.", lambda _: {"model_type": "vlm"}))


@pytest.mark.parametrize("head", [
    "classifier.weight", "head.weight", "head.fc.weight", "fc.weight", "score.weight", "mm_projector.0.weight",
    "classification_head.weight", "decode_head.conv.weight", "mlp_head.0.weight", "heads.cls.weight", "decoder.0.bias",
    "multi_modal_projector.linear_1.weight", "aux_classifier.bias", "linear_probe.weight", "head_norm.weight",
])  # fmt: skip
def test_the_head_of_a_fine_tune(tmp_path, head):
    model = vision_model(use_head=False)
    model.save_pretrained(tmp_path / "saved")
    loaded = load(rewritten(tmp_path / "saved", "", beside={head: 7}))
    assert_same(loaded, model)
    np.testing.assert_array_equal(loaded.left_aside[head], np.full(4, 7, "f4"))
    assert "vte" not in loaded.left_aside


@pytest.mark.parametrize("stranger", ["encoder.layers.0.attention.q_norm.weight", "rotary.inv_freq", "registers",
                                      "encoder.layers.0.ls1.gamma", "embeddings.cls_token", "head.probe2"])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_only_looks_like_it_is_refused(tmp_path, stranger, prefix):
    vision_model(use_head=False).save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"is no AIMv2|unexpected"):
        load(rewritten(tmp_path / "saved", prefix, beside={prefix + stranger: 1}))


def test_a_plain_transformer_of_timm_in_openclip_is_none(tmp_path):
    names = ["visual.trunk.blocks.0.norm1.weight", "visual.trunk.blocks.0.norm1.bias", "visual.trunk.norm.weight",
             "visual.trunk.patch_embed.proj.weight", "visual.trunk.patch_embed.norm.weight"]  # fmt: skip
    save_file({name: np.zeros(2, "f4") for name in names}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no AIMv2: it looks like a plain vision transformer"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.encoder.layers.0.attention.q_proj.lora_A.weight",
        "x.lora_B.weight",
        "base_model.model.encoder.layers.0.attention.q_proj.base_layer.weight",
        "base_model.model.encoder.layers.0.ffn.down_proj.ia3_l",
    ],
)
def test_a_lora_that_is_not_merged_is_refused(tmp_path, name):
    vision_model().save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="LoRA"):
        load(rewritten(tmp_path / "saved", "base_model.model.", beside={name: 1}))


def test_where_there_are_several_one_is_chosen(tmp_path):
    models = {"student.": vision_model(seed=1), "ema.model.": vision_model(seed=2)}
    state = {prefix + name: array for prefix, model in models.items() for name, array in model.state_dict().items()}
    vision_model().save_pretrained(tmp_path / "saved")
    save_file(state, tmp_path / "saved" / "model.safetensors")
    for reader in (load, describe, Aimv2VisionModel.from_pretrained):
        with pytest.raises(CheckpointError, match=r"holds 2 AIMv2, .*'ema\.model\.', 'student\.'; choose one: prefix="):
            reader(tmp_path / "saved")
    for prefix, model in models.items():
        for spelled in (prefix, prefix[:-1]):
            assert_same(load(tmp_path / "saved", prefix=spelled), model)
        assert describe(tmp_path / "saved", prefix=prefix).problem is None
        convert(tmp_path / "saved", tmp_path / prefix, prefix=prefix)
        assert_same(load(tmp_path / prefix), model)
    assert load(tmp_path / "saved", prefix="student").left_aside.parts() == {"ema": len(state) // 2}
    with pytest.raises(ValueError, match="prefix is 'teacher'; expected one of"):
        load(tmp_path / "saved", prefix="teacher")


@pytest.mark.parametrize(("outer", "inner"), [("", "ema."), ("a.", "a.b."), ("", "head.teacher.")])
def test_one_within_the_names_of_another(tmp_path, outer, inner):
    models = {outer: vision_model(seed=1, use_head=False), inner: vision_model(seed=2, use_head=False)}
    state = {prefix + name: array for prefix, model in models.items() for name, array in model.state_dict().items()}
    models[outer].save_pretrained(tmp_path / "saved")
    save_file(state, tmp_path / "saved" / "model.safetensors")
    for prefix, model in models.items():
        loaded = load(tmp_path / "saved", prefix=prefix)
        assert_same(loaded, model)
        assert len(loaded.left_aside) == len(state) // 2


@pytest.mark.parametrize("config", ["open_clip_config.json", "config.json"])
def test_openclips_own_files(tmp_path, config):
    plain = load(folder_of(tmp_path, "timm", "timm"))
    (tmp_path / "other").mkdir()
    folder = folder_of(tmp_path / "other", "timm", "timm")
    tower = json.loads((folder / "config.json").read_text())
    state = {"visual.trunk." + name: array for name, array in load_file(folder / "model.safetensors").items()}
    beside = {"visual.head.proj.weight": np.ones(2, "f4"), "text.ln_final.weight": np.ones(2, "f4"),
              "logit_scale": np.ones((), "f4")}  # fmt: skip
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    save_file(state | beside, folder / "open_clip_model.safetensors")
    values = {"model_cfg": {"embed_dim": 2, "vision_cfg": tower, "text_cfg": {"width": 3}}, "preprocess_cfg": {}}
    (folder / config).write_text(json.dumps(values))
    loaded = load(folder)
    assert_same(loaded, plain)
    assert loaded.left_aside.parts() == {"visual.head": 1, "text": 1, "logit_scale": 1}
    assert list(describe(folder).files) == ["open_clip_model.safetensors"]
    assert expected_config(folder) is not None


def test_info_lists_what_was_left_aside(tmp_path):
    vision_model().save_pretrained(tmp_path / "saved")
    rewritten(tmp_path / "saved", "vision_tower.")
    run = CliRunner().invoke
    machine, screen = (run(app, ["info", str(tmp_path / "saved"), *flags]) for flags in (["--json"], []))
    assert json.loads(machine.output)["left_aside"] == {"llm": 1, "vte": 1}
    assert "llm (1 tensor), vte (1 tensor)" in screen.output


def test_a_tower_out_of_two_leaves_the_other_aside(tmp_path):
    both_model().save_pretrained(tmp_path / "saved")
    aside = Aimv2VisionModel.from_pretrained(tmp_path / "saved").left_aside
    assert set(aside.parts()) == {"text_model", "visual_projection", "text_projection", "logit_scale"}
    assert not Aimv2Model.from_pretrained(tmp_path / "saved").left_aside
    assert vision_model().left_aside == LeftAside() == {}


def test_without_the_last_norm(tmp_path):
    model = vision_model(use_head=False)
    model.save_pretrained(tmp_path / "saved")
    plain, bare = load(tmp_path / "saved"), load(tmp_path / "saved", final_norm=False)
    x, y = plain(pixels(), output_hidden_states=True), bare(pixels())
    np.testing.assert_allclose(y.last_hidden_state, x.hidden_states[-1], atol=1e-5)
    assert list(bare.left_aside) == ["rms_norm.weight"]
    packed = bare.encode_images(pixels())
    np.testing.assert_allclose(packed.last_hidden_state[0], y.last_hidden_state[0], atol=1e-5)
    np.testing.assert_allclose(bare.extract_features(pixels()).values[0], y.last_hidden_state, atol=1e-5)
    for layout in ("transformers", "apple"):
        bare.save_pretrained(tmp_path / "bare", overwrite=True)
        convert(tmp_path / "bare", tmp_path / layout, layout)
        again = load(tmp_path / layout)
        assert again.config == bare.config != plain.config
        np.testing.assert_array_equal(again(pixels()).last_hidden_state, y.last_hidden_state)


def test_the_last_norm_is_for_vision(tmp_path):
    both_model().save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="final_norm is False, which is for a vision tower alone"):
        load(tmp_path / "saved", final_norm=False)
    assert load(tmp_path / "saved")(tokens()).text_embeds.shape == (2, 10)
