"""Apple's PyTorch layout: of the stacked q, k, v, and of the positions, each array is the right part of the file's."""

import numpy as np
from safetensors.numpy import load_file

from aimv2_np import load
from tests.support.layouts import FILES, folder_of


def test_queries_keys_and_values_stand_in_this_order(tmp_path):
    folder = folder_of(tmp_path, "apple-lit", "apple")
    stored, model = load_file(folder / FILES["apple"]), load(folder)
    stacked = stored["image_encoder.trunk.blocks.1.attn.qkv.weight"]
    attention = model.vision_model.encoder.layers[1].attention
    parts = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
    np.testing.assert_array_equal(np.concatenate(parts), stacked)


def test_fc1_is_the_gate_and_fc3_what_it_opens(tmp_path):
    folder = folder_of(tmp_path, "apple-lit", "apple")
    stored, model = load_file(folder / FILES["apple"]), load(folder)
    for tower, ours in (("image_encoder", model.vision_model), ("text_encoder", model.text_model)):
        block, ffn = f"{tower}.trunk.blocks.0.mlp", ours.encoder.layers[0].ffn
        np.testing.assert_array_equal(ffn.gate_proj.weight, stored[f"{block}.fc1.weight"])
        np.testing.assert_array_equal(ffn.up_proj.weight, stored[f"{block}.fc3.weight"])
        np.testing.assert_array_equal(ffn.down_proj.weight, stored[f"{block}.fc2.weight"])


def test_positions_lose_their_batch_axis(tmp_path):
    folder = folder_of(tmp_path, "apple-absolute", "apple")
    stored, model = load_file(folder / FILES["apple"])["preprocessor.pos_embed"], load(folder)
    assert stored.shape[0] == 1
    np.testing.assert_array_equal(model.embeddings.position_embedding.weight, stored[0])
