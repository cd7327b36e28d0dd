"""aimv2_np/storage/layouts/detect.py: the layout is told from the tensors, whatever the file is called."""

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.storage import detect, open_checkpoint, save_safetensors
from aimv2_np.storage.layouts import apple, mlx
from tests.support.layouts import ALL, FILES, folder_of


@pytest.mark.parametrize(("network", "layout"), ALL)
def test_fixtures(tmp_path, network, layout):
    assert detect(open_checkpoint(folder_of(tmp_path, network, layout))).name == layout


@pytest.mark.parametrize("network", ["apple-lit", "apple-native"])
def test_the_name_of_the_file_does_not_matter(tmp_path, network):
    folder = folder_of(tmp_path, network, "mlx")
    (folder / FILES["mlx"]).rename(folder / "model.safetensors")
    assert detect(open_checkpoint(folder)).name == "mlx"
    (tmp_path / "other").mkdir()
    folder = folder_of(tmp_path / "other", network, "apple")
    (folder / "model.safetensors").rename(folder / FILES["mlx"])
    assert detect(open_checkpoint(folder)).name == "apple"


def convolution(tmp_path, shape, **metadata):
    """A checkpoint that is one convolution of this shape."""
    state = {"preprocessor.patchifier.proj.weight": np.zeros(shape, "f4")}
    save_safetensors(tmp_path / "model.safetensors", state, metadata)
    return open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("shape", "channels", "layout"),
    [
        ((4, 3, 14, 14), 3, apple), ((4, 14, 14, 3), 3, mlx),
        ((4, 3, 14, 16), 3, apple), ((4, 14, 16, 3), 3, mlx),  # oblong patches: the channels tell
        ((4, 1, 7, 7), 3, apple), ((4, 7, 7, 1), 3, mlx),  # a config.json without channels: the square tells
        ((4, 3, 3, 7), 7, mlx), ((4, 7, 3, 3), 7, apple),
    ],
)  # fmt: skip
def test_channels_first_or_last(tmp_path, shape, channels, layout):
    assert detect(convolution(tmp_path, shape), channels) is layout.LAYOUT


@pytest.mark.parametrize(("metadata", "layout"), [("pt", apple), ("mlx", mlx)])
def test_where_the_shape_does_not_tell_the_metadata_does(tmp_path, metadata, layout):
    assert detect(convolution(tmp_path, (4, 3, 3, 3), format=metadata)) is layout.LAYOUT


def test_where_nothing_tells_nothing_is_guessed(tmp_path):
    with pytest.raises(CheckpointError, match="PyTorch's or MLX's"):
        detect(convolution(tmp_path, (4, 3, 3, 3)))


def test_names_of_nobody_are_left_as_they_are(tmp_path):
    save_safetensors(tmp_path / "model.safetensors", {name: np.zeros(2, "f4") for name in ("a", "b", "norm.weight")})
    assert detect(open_checkpoint(tmp_path)).name == "transformers"
