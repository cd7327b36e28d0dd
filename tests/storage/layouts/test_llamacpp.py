"""llama.cpp's names, each one of ours."""

from aimv2_np.storage import LAYOUTS
from aimv2_np.storage.layouts.llamacpp import LAYOUT
from tests.support.models import both_model


def test_each_name_is_of_a_weight_of_ours():
    ours = set(both_model().state_dict())
    for tower, rows in (("vision_model.", LAYOUT.vision), ("text_model.", LAYOUT.text)):
        for row in rows:
            name = tower + row.ours.replace("{i}", "1")
            assert name in ours or name.endswith("_proj.bias"), row


def test_it_is_read_in_both_directions():
    assert list(LAYOUT.parts("v.patch_embd.weight")) == ["vision_model.embeddings.patch_embed.weight"]
    assert LAYOUT not in LAYOUTS.values()  # no format of checkpoints
