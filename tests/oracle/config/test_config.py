"""aimv2_np/config, against Transformers' classes of the same names: what either writes the other reads."""

import dataclasses
import json

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

import aimv2_np.config as ours
from aimv2_np.config import config_from_dict
from aimv2_np.network.activations import ACTIVATIONS

KINDS = ["Aimv2Config", "Aimv2VisionConfig", "Aimv2TextConfig"]

COMMON = {
    "num_attention_heads": st.integers(1, 8),
    "intermediate_size": st.integers(1, 5000),
    "num_hidden_layers": st.integers(1, 40),
    "hidden_act": st.sampled_from(sorted(ACTIVATIONS)),
    "attention_dropout": st.floats(0, 1),
    "rms_norm_eps": st.floats(1e-30, 1),
    "qkv_bias": st.booleans(),
    "mlp_bias": st.booleans(),
    "initializer_range": st.floats(0, 1),
}
VISION = {
    **COMMON,
    "num_channels": st.integers(1, 4),
    "image_size": st.integers(32, 512) | st.tuples(st.integers(32, 512), st.integers(32, 512)),
    "patch_size": st.integers(1, 32) | st.tuples(st.integers(1, 32), st.integers(1, 32)),
    "use_head": st.booleans(),
    "is_native": st.booleans(),
}
TEXT = {
    **COMMON,
    "vocab_size": st.integers(100, 60000),
    "max_position_embeddings": st.integers(1, 1000),
    "eos_token_id": st.integers(0, 99),
}


def tower(kind, fields):
    # a width that the heads divide, and four too, which native positions need
    return st.fixed_dictionaries(fields).flatmap(
        lambda values: st.integers(1, 40).map(
            lambda width: kind(**values, hidden_size=4 * width * values["num_attention_heads"])
        )
    )


VISIONS = tower(ours.Aimv2VisionConfig, VISION)
TEXTS = tower(ours.Aimv2TextConfig, TEXT)
BOTH = st.builds(
    ours.Aimv2Config,
    vision_config=VISIONS,
    text_config=TEXTS,
    projection_dim=st.integers(1, 1000),
    logit_scale_init_value=st.floats(-5, 5),
    max_logit_scale=st.floats(1, 1000),
)


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def assert_equal(our, their):
    """Every field of ours has the value of theirs."""
    for item in dataclasses.fields(our):
        value = getattr(our, item.name)
        if isinstance(value, ours.Config):
            assert_equal(value, getattr(their, item.name))
        elif item.name not in ("extra", "final_norm"):  # which only we have
            assert plain(getattr(their, item.name)) == plain(value), item.name


@pytest.mark.parametrize("name", KINDS)
def test_the_same_fields_with_the_same_defaults(name, tmp_path):
    our, their = getattr(ours, name), getattr(transformers, name)
    assert_equal(our(), their())
    their().save_pretrained(tmp_path)
    read = our.from_pretrained(tmp_path)
    assert read == our()
    # Every key that Transformers writes for this model is a field here, or means nothing to the network.
    assert read.extra.keys() <= {"transformers_version", "initializer_factor", "dtype"}


@given(our=VISIONS | TEXTS | BOTH)
def test_transformers_reads_what_is_written_here(tmp_path_factory, our):
    folder = tmp_path_factory.mktemp("config")
    our.save_pretrained(folder)
    their = getattr(transformers, type(our).__name__).from_pretrained(folder)
    assert_equal(our, their)
    assert type(transformers.AutoConfig.from_pretrained(folder)) is type(their)


@given(our=VISIONS | TEXTS | BOTH)
def test_what_transformers_writes_is_read_here(tmp_path_factory, our):
    folder = tmp_path_factory.mktemp("config")
    their = getattr(transformers, type(our).__name__)(**our.to_dict())
    their.save_pretrained(folder)
    read = type(our).from_pretrained(folder)
    assert read == our
    assert config_from_dict(json.loads((folder / "config.json").read_text())) == our


@given(our=BOTH)
def test_a_tower_out_of_both(tmp_path_factory, our):
    folder = tmp_path_factory.mktemp("config")
    our.save_pretrained(folder)
    for kind, part in ((ours.Aimv2VisionConfig, our.vision_config), (ours.Aimv2TextConfig, our.text_config)):
        their = getattr(transformers, kind.__name__).from_pretrained(folder)
        assert kind.from_pretrained(folder) == part
        assert_equal(part, their)


def test_through_both_and_back_nothing_is_lost(tmp_path):
    our = ours.Aimv2Config.from_dict({"some_key": [1, {"a": None}], "vision_config": {"other_key": "x"}})
    our.save_pretrained(tmp_path / "a")
    transformers.Aimv2Config.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    again = ours.Aimv2Config.from_pretrained(tmp_path / "b")
    assert again == our
    assert again.extra["some_key"] == [1, {"a": None}]
    assert again.vision_config.extra["other_key"] == "x"


def test_our_activations_are_transformers_fixed_ones():
    from transformers.activations import ACT2FN

    learned = {"prelu", "xielu"}
    not_for_layers = {"sqrtsoftplus"}  # scores the experts of another model's router
    assert set(ACTIVATIONS) == set(ACT2FN) - learned - not_for_layers
