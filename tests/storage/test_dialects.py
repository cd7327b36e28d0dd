"""aimv2_np/storage/dialects.py: config.json as each codebase writes it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, CheckpointError
from aimv2_np.config import config_from_dict
from aimv2_np.storage import LAYOUTS
from aimv2_np.storage.dialects import from_timm, is_timm, write_apple, write_timm, write_transformers
from aimv2_np.storage.relayout import DIALECTS
from aimv2_np.storage.released import RELEASED
from tests.support.paths import FIXTURES

CONFIGS = [
    Aimv2VisionConfig(
        hidden_size=32, num_attention_heads=4, image_size=28, patch_size=7, mlp_bias=True, use_head=False
    ),
    Aimv2VisionConfig(is_native=True, hidden_act="gelu", initializer_range=0.1, image_size=(28, 42)),
    Aimv2TextConfig(max_position_embeddings=9, qkv_bias=True),
    Aimv2Config(projection_dim=3, text_config=Aimv2TextConfig(vocab_size=99, eos_token_id=98)),
]
EXTRA = {"transformers_version": "4.0", "auto_map": {}, "torch_dtype": "float16", "projection_size": 5}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_has_a_config_json(layout):
    assert layout in DIALECTS, f"{layout}: say in DIALECTS of aimv2_np/storage/relayout.py who writes its config.json"


def fixture(name):
    return json.loads((FIXTURES / name / "config.json").read_text())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("write", [write_apple, write_transformers])
def test_what_is_written_is_read_as_the_same(config, write):
    config = type(config).from_dict({**config.to_dict(), **EXTRA})
    values = json.loads(json.dumps(write(config, "bfloat16", "Aimv2Something")))
    assert config_from_dict(values) == config
    assert values["projection_size"] == 5
    assert not {"transformers_version", "auto_map"} & set(values)
    assert values.get("dtype", values.get("torch_dtype")) == "bfloat16"


@pytest.mark.parametrize("name", ["apple-lit", "apple-absolute", "apple-native"])
def test_apples_own_files_come_out_as_they_were(name):
    values = fixture(name)
    written = write_apple(config_from_dict(values), "float32", "")
    for key in ("vision_config", "text_config"):
        if key in values:
            assert written[key].items() >= {k: v for k, v in values.pop(key).items() if k != "model_type"}.items()
    assert written.items() >= values.items()


def test_architecture_and_dtype_are_what_is_saved():
    values = write_transformers(CONFIGS[0], "float16", "Aimv2VisionModel")
    assert values["architectures"] == ["Aimv2VisionModel"]
    assert values["dtype"] == "float16"
    assert values["model_type"] == "aimv2_vision_model"


def test_timms_own_file():
    values = fixture("timm")
    assert is_timm(values)
    ours = from_timm(values, by_name=False)
    config = config_from_dict({**ours, "intermediate_size": 88})
    assert (config.hidden_size, config.num_attention_heads, config.image_size, config.patch_size) == (32, 4, 28, 7)
    assert not config.use_head
    written = write_timm(config, "float32", "")
    assert written == values


@pytest.mark.parametrize("it", [it for it in RELEASED if it.timm], ids=lambda it: it.id)
def test_released_architectures_of_timm_by_name(it):
    written = write_timm(it.config(), "float32", "")
    assert written["architecture"] == it.timm.partition("/")[2].partition(".")[0]
    del written["model_args"]
    ours = from_timm(written, by_name=True)
    assert config_from_dict(ours) == it.config()


@given(st.integers(1, 2000), st.integers(1, 9000))
def test_timms_ratio_gives_the_width_back(hidden, intermediate):
    config = Aimv2VisionConfig(hidden_size=hidden, intermediate_size=intermediate, num_attention_heads=1,
                               use_head=False)  # fmt: skip
    ratio = write_timm(config, "float32", "")["model_args"]["mlp_ratio"]
    assert int(hidden * ratio) == intermediate


@pytest.mark.parametrize("config", [CONFIGS[1], CONFIGS[2], CONFIGS[3], Aimv2VisionConfig()])
def test_what_timm_has_no_model_for(config):
    with pytest.raises(ValueError, match="timm's layout has no"):
        write_timm(config, "float32", "")


@pytest.mark.parametrize("changes", [{"hidden_act": "gelu"}, {"rms_norm_eps": 1e-6}])
def test_what_timms_configuration_cannot_say(changes):
    with pytest.raises(ValueError, match="no place for another hidden_act or rms_norm_eps"):
        write_timm(Aimv2VisionConfig(use_head=False, **changes), "float32", "")


def test_channels_are_told_to_timm():
    config = Aimv2VisionConfig(use_head=False, num_channels=4)
    written = write_timm(config, "float32", "")
    assert written["model_args"]["in_chans"] == written["pretrained_cfg"]["input_size"][0] == 4


@pytest.mark.parametrize("name", [None, 3, "vit_base", "aimv2_small_patch14_224"])
def test_an_architecture_of_nobody(name):
    with pytest.raises(CheckpointError, match=r"of the architecture"):
        from_timm({"architecture": name, "pretrained_cfg": {}}, by_name=True)


@pytest.mark.parametrize("nonsense", [3, "text", [1], None])
def test_a_pretrained_cfg_that_is_none_is_replaced(nonsense):
    values = {"architecture": "aimv2_large_patch14_224", "pretrained_cfg": nonsense}
    config = config_from_dict(from_timm(values, by_name=True))
    assert write_timm(config, "float32", "")["pretrained_cfg"]["input_size"] == [3, 224, 224]
