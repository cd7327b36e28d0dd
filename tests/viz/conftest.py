"""Small checkpoints for all tests of this folder, and life with and without matplotlib."""

import sys
from pathlib import Path

import pytest

from aimv2_np import Aimv2ImageProcessor, Aimv2Model, Aimv2Processor, Aimv2VisionModel
from tests.support.two_towers import save_two_towers, vision_config


@pytest.fixture(scope="session")
def two_towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_two_towers(tmp_path_factory.mktemp("checkpoints") / "two-towers")


@pytest.fixture(scope="session")
def loaded(two_towers):
    """Two towers for a grid of 2 x 3 patches, and their processor."""
    return Aimv2Model.from_pretrained(two_towers), Aimv2Processor.from_pretrained(two_towers)


@pytest.fixture(scope="session")
def native():
    """A vision tower alone that takes any grid, without a pooling head, and its processor."""
    model = Aimv2VisionModel(vision_config(is_native=True, use_head=False))
    return model, Aimv2ImageProcessor(do_resize=False, do_center_crop=False)


@pytest.fixture
def matplotlib():
    pytest.importorskip("matplotlib.figure", reason="drawing needs matplotlib, the extra viz")


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
