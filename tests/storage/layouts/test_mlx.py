"""Apple's MLX layout: the numbers of the PyTorch one, but that the convolution has its channels last."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from aimv2_np import load
from tests.support.layouts import FILES, NETWORKS, folder_of


@pytest.mark.parametrize("network", NETWORKS)
def test_only_the_convolution_differs_from_apples_pytorch_file(tmp_path, network):
    mlx, torch = (folder_of(tmp_path, network, layout) for layout in ("mlx", "apple"))
    ours, theirs = load_file(mlx / FILES["mlx"]), load_file(torch / FILES["apple"])
    assert set(ours) == set(theirs)
    different = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert {name.rpartition("preprocessor.")[2] for name in different} == {"patchifier.proj.weight"}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_convolution_is_turned(tmp_path, network):
    folder = folder_of(tmp_path, network, "mlx")
    model = load(folder)
    stored = load_file(folder / FILES["mlx"])
    (name,) = (name for name in stored if name.endswith("patchifier.proj.weight"))
    weight = getattr(model, "vision_model", model).embeddings.patch_embed.weight  # (D, C, P, P)
    np.testing.assert_array_equal(weight, np.moveaxis(stored[name], -1, 1))
