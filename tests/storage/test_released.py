"""aimv2_np/storage/released.py: the table against the networks that it describes."""

import re

import pytest

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2VisionModel
from aimv2_np.storage.released import RELEASED, SIZES, known_heads


@pytest.mark.parametrize("it", RELEASED, ids=lambda it: it.id)
def test_parameters_are_those_of_the_network(it):
    config = it.config()
    model = (Aimv2Model if isinstance(config, Aimv2Config) else Aimv2VisionModel).skeleton(config)
    assert model.num_parameters() == it.parameters
    assert isinstance(model, Aimv2Model) == it.two_towers


def test_the_table():
    assert len(RELEASED) == len({it.id for it in RELEASED}) == len({it.revision for it in RELEASED}) == 16
    assert all(re.fullmatch(r"[0-9a-f]{40}", it.revision) for it in RELEASED)
    assert all(it.size in SIZES and f"-{it.size}-" in it.id for it in RELEASED)
    assert all(str(it.image_size or "native") in it.id for it in RELEASED)
    assert {it.licence for it in RELEASED} == {"apple-amlr"}
    assert next(it for it in RELEASED if it.parameters == 309_197_824).id == "apple/aimv2-large-patch14-224"


def test_timm_hosts_the_vision_towers_of_one_resolution():
    ids = [it.timm for it in RELEASED if it.timm]
    assert len(set(ids)) == 14
    assert "timm/aimv2_1b_patch14_448.apple_pt" in ids
    assert "timm/aimv2_large_patch14_336.apple_pt_dist" in ids
    assert [it.id for it in RELEASED if it.timm is None] == [
        "apple/aimv2-large-patch14-native", "apple/aimv2-large-patch14-224-lit",
    ]  # fmt: skip


def test_two_towers_and_native():
    lit = next(it for it in RELEASED if it.two_towers).config()
    assert lit.vision_config.use_head
    assert lit.projection_dim == 768
    native = next(it for it in RELEASED if it.image_size is None).config()
    assert native.is_native
    assert not native.use_head


def test_heads_are_128_wide():
    assert known_heads((1024, 2816, 24)) == 8
    assert known_heads((3072, 8192, 24)) == 24
    assert known_heads((768, 2048, 12)) == 6
    assert known_heads((1024, 2816, 23)) is None
    assert known_heads((None, 2816, 24)) is None


def test_architectures_of_timm():
    names = {it.id: it.architecture for it in RELEASED}
    assert names["apple/aimv2-3B-patch14-336"] == "aimv2_3b_patch14_336"
    assert names["apple/aimv2-large-patch14-native"] is None
