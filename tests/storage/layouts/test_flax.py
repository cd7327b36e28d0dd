"""Apple's Flax layout: kernels are transposed, and the statistics of a norm that no network uses are not asked for."""

import msgpack
import numpy as np
import pytest

from aimv2_np import load
from tests.support.layouts import FILES, NETWORKS, folder_of


def leaves(tree, path=""):
    """Path joined by slashes -> array, of a file as the library `msgpack` reads it."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{name}/")
        else:
            shape, dtype, data = msgpack.unpackb(value.data)
            yield f"{path}{name}", np.frombuffer(data, dtype).reshape(shape)


@pytest.mark.parametrize("network", NETWORKS)
def test_kernels_are_transposed(tmp_path, network):
    folder = folder_of(tmp_path, network, "flax")
    stored = dict(leaves(msgpack.unpackb((folder / FILES["flax"]).read_bytes())))
    model = load(folder)
    vision, root = (model.vision_model, "params/image_encoder/") if network == "apple-lit" else (model, "params/")
    ffn, attention = vision.encoder.layers[1].ffn, vision.encoder.layers[1].attention
    np.testing.assert_array_equal(ffn.down_proj.weight, stored[f"{root}trunk/layers_1/mlp/fc2/kernel"].T)
    stacked = np.concatenate([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    np.testing.assert_array_equal(stacked, stored[f"{root}trunk/layers_1/attn/qkv/kernel"].T)
    convolution = stored[f"{root}preprocessor/patchifier/proj/kernel"]  # (P, P, C, D)
    np.testing.assert_array_equal(vision.embeddings.patch_embed.weight, convolution.transpose(3, 2, 0, 1))
