from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from aimv2_np import Aimv2Config, Aimv2ImageProcessor, Aimv2VisionModel, load, trace
from aimv2_np.bench import models
from aimv2_np.bench.models import ARCHITECTURES, OUTLIER, configuration, draw_picture, shortened, specimen, write_random
from aimv2_np.data import tiny_model_path
from tests.support.models import both_config, text_config, vision_config


def test_every_released_architecture_has_a_name():
    assert list(ARCHITECTURES) == [
        "large-224", "huge-224", "1B-224", "3B-224", "large-336", "huge-336", "1B-336", "3B-336", "large-448",
        "huge-448", "1B-448", "3B-448", "large-native", "large-224-lit",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [vision_config(), vision_config(is_native=True), text_config(), both_config()])
def test_random_weights_are_those_of_a_new_model(tmp_path, config):
    write_random(tmp_path, config, seed=3)
    model = load(tmp_path)
    new = type(model)(config, seed=3)
    for name, array in new.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_pictures_come_out_in_the_size_of_the_model(tmp_path):
    for name, changes in (("resized", {"image_size": 20}), ("native", {"is_native": True, "image_size": (12, 16)})):
        config = vision_config(**changes)
        (tmp_path / name).mkdir()
        write_random(tmp_path / name, config)
        draw_picture(tmp_path / "picture.png", config)
        processor = Aimv2ImageProcessor.from_pretrained(tmp_path / name)
        assert processor(tmp_path / "picture.png")["pixel_values"].shape == (1, 3, *config.image_shape)
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (16, 12)


def test_a_temporary_checkpoint_is_gone_afterwards(monkeypatch):
    class Small:
        def config(self):
            return vision_config()

    monkeypatch.setitem(ARCHITECTURES, "small", Small())
    with specimen("small", layers=1) as it:
        assert it.random
        assert it.config.num_hidden_layers == 1
        assert [path.name for path in it.files] == ["model.safetensors"]
        assert isinstance(load(it.folder), Aimv2VisionModel)
        assert it.parameters == load(it.folder).num_parameters()
    assert not it.folder.exists()


def test_peaked_weights_make_peaked_scores_and_outliers(tmp_path):
    """Of the released width, in which the numbers of models.py are meant: scores so peaked that e^x is denormal."""
    config = replace(configuration("large-224-peaked", 2), image_size=56)
    write_random(tmp_path, config, peak=True)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 56, 56), dtype=np.float32)
    model = load(tmp_path)
    with trace(model) as seen:
        model(pixels)
    for i in range(2):
        assert 15 < seen[f"encoder.layers.{i}.attention.scores"].std() < 60
        stream = np.abs(seen[f"encoder.layers.{i}"])
        assert stream[..., 0].min() > 0.9 * OUTLIER
        assert stream[..., 1:].max() < 0.1 * OUTLIER


def test_checkpoints_are_used_where_they_are():
    with specimen("tiny") as it:
        assert it.folder == tiny_model_path()
        assert not it.random
    with specimen(str(tiny_model_path())) as it:
        assert isinstance(it.config, Aimv2Config)


def test_shortened():
    assert shortened(both_config(), 1).vision_config.num_hidden_layers == 1
    assert shortened(both_config(), 1).text_config.num_hidden_layers == 1
    assert shortened(text_config(), None) == text_config()
    assert configuration("large-224", 2).num_hidden_layers == 2


def test_names_that_mean_nothing():
    with (
        pytest.raises(ValueError, match=r"model is 'lage'; expected tiny, one of large-224, .* or a hub id"),
        specimen("lage"),
    ):
        pass
    with pytest.raises(ValueError, match="layers is 2, but tiny is a checkpoint"), specimen("tiny", layers=2):
        pass


def test_no_room_for_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(models.shutil, "disk_usage", lambda _: models.shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(OSError, match="set TMPDIR to a folder on a larger disk"):
        write_random(tmp_path, vision_config())
    assert list(tmp_path.iterdir()) == []
