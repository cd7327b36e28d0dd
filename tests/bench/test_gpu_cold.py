"""A cold start on a GPU: in this process where `cupy` is the stand-in."""

import json
import runpy
import sys

import pytest

from tests.support.models import vision_model
from tests.support.paths import ROOT
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers

PROGRAM = ROOT / "aimv2_np" / "bench" / "gpu_cold.py"


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("picture", [True, False])
def test_it_says_how_long_each_step_took(tmp_path, monkeypatch, capsys, picture):
    if picture:
        save_two_towers(tmp_path / "model")
        photo(20, 20).save(tmp_path / "picture.png")
    else:
        vision_model().save_pretrained(tmp_path / "model")
    arguments = [str(tmp_path / "model"), "float32", "0", str(tmp_path / "picture.png") if picture else ""]
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *arguments])
    runpy.run_path(str(PROGRAM), run_name="__main__")
    stages, memory = (json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines())
    assert list(stages) == ["load", "prepare", "run"]
    assert all(seconds >= 0 for seconds in stages.values())
    assert "resident" in memory
