"""A cold start on a GPU: in this process where `cupy` is the stand-in."""

import sys

import pytest

from aimv2_np.bench import gpu_cold
from tests.support.models import vision_model
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("picture", [True, False])
def test_it_says_how_long_each_step_took(tmp_path, monkeypatch, picture):
    if picture:
        save_two_towers(tmp_path / "model")
        photo(20, 20).save(tmp_path / "picture.png")
    else:
        vision_model().save_pretrained(tmp_path / "model")
    arguments = [str(tmp_path / "model"), "float32", "0", str(tmp_path / "picture.png") if picture else ""]
    said = []
    monkeypatch.setattr(sys, "argv", ["gpu_cold", *arguments])
    monkeypatch.setattr(gpu_cold, "speak", said.append)
    gpu_cold.main()
    assert list(said[0]) == ["load", "prepare", "run"]
    assert all(seconds >= 0 for seconds in said[0].values())
