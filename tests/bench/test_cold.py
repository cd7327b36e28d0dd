"""A cold start: a process of its own that loads, prepares and runs, and says how long each took."""

import json

import pytest

from aimv2_np.bench.cold import measure
from aimv2_np.bench.talk import Worker, module_command
from tests.support.models import text_model, vision_model
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers


@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_a_process_says_how_long_each_step_took(tmp_path, kind):
    if kind == "pictures":
        save_two_towers(tmp_path / "model")
        photo(20, 20).save(tmp_path / "picture.png")
        arguments = [str(tmp_path / "model"), str(tmp_path / "picture.png")]
    else:
        text_model().save_pretrained(tmp_path / "model")
        arguments = [str(tmp_path / "model")]
    with Worker(module_command("aimv2_np.bench.cold", *arguments)) as worker:
        stages, memory = worker.answer(), worker.answer()
    assert list(stages) == ["load", "prepare", "run"]
    assert all(seconds >= 0 for seconds in stages.values())
    assert "resident" in memory


def test_a_folder_without_a_model(tmp_path):
    with Worker(module_command("aimv2_np.bench.cold", str(tmp_path))) as worker, pytest.raises(RuntimeError):
        worker.answer()


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("picture", [True, False])
def test_on_a_gpu(tmp_path, capsys, picture):
    """In this process where `cupy` is the stand-in; without a picture it looks at a grey one."""
    if picture:
        save_two_towers(tmp_path / "model")
        photo(20, 20).save(tmp_path / "picture.png")
    else:
        vision_model().save_pretrained(tmp_path / "model")
    measure(str(tmp_path / "model"), str(tmp_path / "picture.png") if picture else "", backend="cupy", device=0)
    stages, memory = (json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines())
    assert list(stages) == ["load", "prepare", "run"]
    assert "resident" in memory
