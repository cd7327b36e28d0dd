"""aimv2_np/storage/source.py: a folder, or a repository of which one layout is enough."""

import json
import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np import Aimv2VisionConfig, CheckpointError, load
from aimv2_np.storage import LAYOUTS, fetch, open_source, save_safetensors
from tests.support.descriptors import at_every_limit
from tests.support.hub_server import COMMIT, redirect, serve
from tests.support.layouts import FILES, folder_of, recorded
from tests.support.models import vision_model
from tests.support.paths import FIXTURES

APPLE, FLAX, TIMM = "apple/aimv2-large-patch14-224", "someone/aimv2-flax", "timm/aimv2_large_patch14_224.apple_pt"


def contents(network, *names):
    return {name: (FIXTURES / network / name).read_bytes() for name in ("config.json", *names)}


@pytest.fixture
def hub(monkeypatch):
    repositories = {
        APPLE: contents("apple-absolute", "model.safetensors", "mlx_model.safetensors", "flax_model.msgpack"),
        FLAX: contents("apple-absolute", "flax_model.msgpack"),
        TIMM: {**contents("timm", "model.safetensors"), "pytorch_model.bin": b"pickled"},
        "no/weights": {"config.json": b"{}", "pytorch_model.bin": b"pickled"},
    }
    with serve(repositories) as hub:
        redirect(hub, monkeypatch)
        yield hub


@pytest.mark.parametrize(
    ("name", "network", "file", "revision"),
    [
        (APPLE, "apple-absolute", "model.safetensors", COMMIT),
        (FLAX, "apple-absolute", "flax_model.msgpack", None),
        (TIMM, "timm", "model.safetensors", None),
    ],
)
def test_one_layout_of_the_weights_is_downloaded(hub, tmp_path, name, network, file, revision):
    model = load(name, cache_dir=tmp_path, revision=revision)
    fetched = {request.rpartition("/")[2] for request in hub.requests if request.startswith("GET")}
    assert {"config.json", file} == fetched & {*FILES.values(), "config.json", "pytorch_model.bin"}
    inputs, outputs = recorded(network)
    np.testing.assert_allclose(model(**inputs).last_hidden_state, outputs["last_hidden_state"], rtol=0, atol=1e-5)
    hub.requests.clear()
    load(name, cache_dir=tmp_path, revision=COMMIT, local_files_only=True)
    assert hub.requests == []


def test_a_repository_without_weights(hub, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no weights \(it has config\.json"):
        open_source(fetch("no/weights", cache_dir=tmp_path))


def test_a_folder_is_itself(tmp_path):
    assert fetch(tmp_path) == tmp_path
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fetch(tmp_path / "none")


def test_what_a_source_says(tmp_path):
    source = open_source(folder_of(tmp_path, "apple-absolute", "mlx"))
    assert source.layout.name == "mlx"
    assert source.values["use_head"] is False
    assert "preprocessor.pos_embed" in source.checkpoint.shapes
    assert source.tensors.shapes["embeddings.position_embedding.weight"] == (16, 32)


def test_the_first_of_several_layouts_is_read(tmp_path):
    folder = folder_of(tmp_path, "apple-absolute", "apple")
    (folder / "flax_model.msgpack").write_bytes(b"not looked at")
    assert open_source(folder).layout.name == "apple"


def test_without_config_json(tmp_path):
    folder = folder_of(tmp_path, "apple-absolute", "flax")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        open_source(folder)


def test_timm_of_another_architecture(tmp_path):
    folder = folder_of(tmp_path, "timm", "timm", architecture="vit_base_patch16_224")
    with pytest.raises(CheckpointError, match="it is timm's, of the architecture 'vit_base_patch16_224'; expected"):
        open_source(folder)


@pytest.mark.parametrize("changes", [{"model_args": 3}, {"model_args": {"num_heads": "many"}}, {"model_args": {}}])
def test_timm_with_nonsense(tmp_path, changes):
    with pytest.raises(CheckpointError, match=r"^config\.json of .*(model_args|num_attention_heads)"):
        load(folder_of(tmp_path, "timm", "timm", **changes))


def test_a_tensor_that_no_layout_knows_is_unexpected(tmp_path):
    folder = folder_of(tmp_path, "apple-absolute", "apple", num_hidden_layers=1)
    with pytest.raises(CheckpointError, match=r"8 unexpected|unexpected \(encoder\.layers\.1"):
        load(folder)


def test_the_configuration_alone_says_that_it_is_timms(tmp_path):
    folder = folder_of(tmp_path, "timm", "timm")
    with pytest.raises(CheckpointError, match="the keys are timm's"):
        Aimv2VisionConfig.from_pretrained(folder)
    assert load(folder).config.hidden_size == json.loads((folder / "config.json").read_text())["num_features"]


@pytest.mark.filterwarnings("ignore::aimv2_np.ConfigWarning")
@given(st.data())
def test_any_shapes_and_any_settings_end_in_an_error_that_says_so(tmp_path_factory, data):
    """Names of a layout with shapes and settings of nobody: a documented error, or a model of exactly these tensors."""
    folder = tmp_path_factory.mktemp("any")
    layout = data.draw(st.sampled_from(list(LAYOUTS.values())))
    rows = data.draw(st.lists(st.sampled_from((*layout.vision, *layout.text, *layout.both)), max_size=8))
    prefixes = st.sampled_from(list(layout.prefixes.values()))
    names = {data.draw(prefixes) + row.theirs.replace("{i}", data.draw(st.sampled_from("012"))) for row in rows}
    shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 12]), max_size=5)
    state = {name: np.zeros(data.draw(shapes), "f4") for name in sorted(names)}
    save_safetensors(folder / "model.safetensors", state)
    number = st.sampled_from([0, 1, 2, 4, 2**40, -1, None, "4", [2, 2], 0.5, True])
    keys = st.sampled_from(["hidden_size", "num_attention_heads", "image_size", "patch_size", "num_hidden_layers",
                            "use_head", "vision_config", "text_config", "model_type", "pretrained_cfg", "architecture",
                            "model_args", "num_channels", "use_bias"])  # fmt: skip
    config = data.draw(st.dictionaries(keys, number | st.dictionaries(keys, number, max_size=3), max_size=5))
    (folder / "config.json").write_text(json.dumps(config))
    with suppress(CheckpointError):
        assert load(folder).num_parameters() == sum(math.prod(array.shape) for array in state.values())


def test_too_many_open_files_are_no_fault_of_the_checkpoint(tmp_path):
    vision_model().save_pretrained(tmp_path)
    assert at_every_limit(lambda: open_source(tmp_path)) > 1
