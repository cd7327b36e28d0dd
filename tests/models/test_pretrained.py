"""New models: what their weights are, and that the same seed gives the same ones. Checkpoints are tested elsewhere."""

import json

import numpy as np
import pytest

import aimv2_np
from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextConfig, Aimv2TextModel, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.errors import a_type
from tests.support.models import both_config, pixels, text_config, vision_config

MODELS = [(Aimv2VisionModel, vision_config), (Aimv2TextModel, text_config), (Aimv2Model, both_config)]


@pytest.mark.parametrize(("model", "config"), MODELS)
def test_the_same_seed_gives_the_same_weights(model, config):
    first, second, other = model(config(), seed=5), model(config(), seed=5), model(config(), seed=6)
    for path, array in first.state_dict().items():
        np.testing.assert_array_equal(array, second.state_dict()[path])
        assert array.dtype == np.float32
        assert array.flags.writeable
        if array.ndim > 1:
            assert (array != other.state_dict()[path]).any(), path
    default, zero = model(config()), model(config(), seed=0)
    for path, array in default.state_dict().items():
        np.testing.assert_array_equal(array, zero.state_dict()[path])


def test_random_state_elsewhere_is_not_touched():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    Aimv2VisionModel(vision_config())
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_an_array_depends_on_the_seed_and_its_path_only():
    small = Aimv2VisionModel(vision_config()).state_dict()
    deep = Aimv2VisionModel(vision_config(num_hidden_layers=4, use_head=False, qkv_bias=True)).state_dict()
    for path in set(small) & set(deep):
        np.testing.assert_array_equal(small[path], deep[path])
    assert len(set(small) & set(deep)) > 15


def test_no_two_arrays_are_alike():
    state = Aimv2Model(both_config()).state_dict()
    starts = [array.ravel()[:8].tobytes() for array in state.values() if array.ndim > 1]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_distributions(std):
    """normal(0, initializer_range²) for matrices, tables and cls_token; zero biases; unit gains."""
    vision = vision_config(initializer_range=std, qkv_bias=True, mlp_bias=True)
    text = text_config(initializer_range=2 * std, qkv_bias=True, mlp_bias=True)
    config = both_config(vision_config=vision, text_config=text, logit_scale_init_value=1.25)
    state = Aimv2Model(config).state_dict()
    pooled = {"vision": [], "text": []}
    for path, array in state.items():
        if path == "logit_scale":
            assert array.shape == ()
            assert float(array) == 1.25
        elif path.endswith("bias"):
            assert not array.any(), path
        elif "norm" in path:
            assert (array == 1).all(), path
        else:
            tower = "text" if path.startswith("text") else "vision"
            expected = 2 * std if tower == "text" else std
            # The deviation of n draws is off by 1/√2n of itself; five of those is once in a million.
            assert abs(array.std() / expected - 1) < 5 / np.sqrt(2 * array.size), path
            assert abs(array.mean()) < 5 * expected / np.sqrt(array.size), path
            pooled[tower].append(array.ravel() / expected)
    for values in pooled.values():
        whole = np.concatenate(values)
        inside = (np.abs(whole) < 1).mean()  # 68.27 % of a normal distribution
        assert abs(inside - 0.6827) < 5 * np.sqrt(0.25 / whole.size)
        assert np.abs(whole).max() > 3  # not cut off


def test_no_range_means_zeros():
    state = Aimv2VisionModel(vision_config(initializer_range=0.0)).state_dict()
    assert not [path for path, array in state.items() if "norm" not in path and array.any()]


@pytest.mark.parametrize(("model", "wrong", "expected"), [
    (Aimv2VisionModel, Aimv2TextConfig(), "Aimv2VisionConfig"),
    (Aimv2TextModel, Aimv2VisionConfig(), "Aimv2TextConfig"),
    (Aimv2Model, Aimv2VisionConfig(), "Aimv2Config"),
    (Aimv2VisionModel, Aimv2Config(), "Aimv2VisionConfig"),
    (Aimv2VisionModel, {"hidden_size": 8}, "Aimv2VisionConfig"),
    (Aimv2VisionModel, "apple/aimv2-large-patch14-224", "Aimv2VisionConfig"),
])  # fmt: skip
def test_the_wrong_configuration(model, wrong, expected):
    with pytest.raises(TypeError, match=rf"config is {a_type(wrong)}; expected an {expected} for {model.__name__}"):
        model(wrong)


@pytest.mark.parametrize(("model", "config"), MODELS)
def test_the_configuration_is_kept(model, config):
    assert model(config()).config == config()
    assert model(config()).to(dtype="float64").config == config()


def test_towers_of_a_model_carry_their_own_configuration():
    model = Aimv2Model(both_config())
    assert model.vision_model.config == vision_config()
    assert model.text_model.config == text_config()
    assert isinstance(model.vision_model, Aimv2VisionModel)
    output = model.vision_model(pixels())
    np.testing.assert_array_equal(output.pooler_output, model(pixel_values=pixels()).vision_model_output.pooler_output)


@pytest.mark.parametrize(("model", "config"), MODELS)
def test_skeletons_have_the_models_shapes(model, config):
    state, places = model(config()).state_dict(), model.skeleton(config()).state_dict()
    assert {path: array.shape for path, array in state.items()} == {path: place.shape for path, place in places.items()}
    assert list(state) == list(places)


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_a_saved_model_comes_back(model, config, dtype, tmp_path):
    saved = model(config(), seed=3).to(dtype=dtype)
    saved.save_pretrained(tmp_path / "new" / "folder", max_shard_size="20KB")
    loaded = model.from_pretrained(tmp_path / "new" / "folder", dtype=dtype)
    assert loaded.config == saved.config
    assert type(aimv2_np.load(tmp_path / "new" / "folder")) is model
    for path, array in saved.state_dict().items():
        np.testing.assert_array_equal(array, loaded.state_dict()[path])


def test_the_configuration_says_the_dtype_that_was_saved(tmp_path):
    """Transformers loads a checkpoint in the dtype that config.json says, not in the one of the tensors."""
    config = Aimv2VisionConfig.from_dict({**vision_config().to_dict(), "torch_dtype": "bfloat16", "note": "kept"})
    Aimv2VisionModel(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["dtype"], written["note"], written["architectures"]) == ("float32", "kept", ["Aimv2VisionModel"])
    assert "torch_dtype" not in written


def test_nothing_is_written_beside_a_configuration_that_is_there(tmp_path):
    vision_config().save_pretrained(tmp_path)
    with pytest.raises(FileExistsError, match=r"config\.json"):
        Aimv2VisionModel(vision_config()).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    Aimv2VisionModel(vision_config()).save_pretrained(tmp_path, overwrite=True)
    Aimv2VisionModel.from_pretrained(tmp_path)


def test_float32_weights_are_used_where_they_lie_in_the_file(tmp_path):
    Aimv2VisionModel(vision_config()).save_pretrained(tmp_path)
    for array in Aimv2VisionModel.from_pretrained(tmp_path).state_dict().values():
        assert type(array) is np.ndarray
        assert not array.flags.writeable
        assert not array.flags.owndata


def test_a_configuration_that_cannot_be_written_leaves_everything_as_it_was(tmp_path):
    Aimv2VisionModel(vision_config(), seed=1).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    odd = Aimv2VisionConfig.from_dict({**vision_config().to_dict(), "odd": float("nan")})
    with pytest.raises(ValueError, match=r"config\.json cannot be written"):
        Aimv2VisionModel(odd, seed=2).save_pretrained(tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_that_cannot_be_written_leave_the_configuration_as_it_was(tmp_path, monkeypatch):
    Aimv2VisionModel(vision_config(), seed=1).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("aimv2_np.storage.save_checkpoint", full)
    with pytest.raises(OSError, match="no space left"):
        Aimv2VisionModel(vision_config(use_head=False)).save_pretrained(tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
