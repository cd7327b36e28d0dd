import json

import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.training.log import FILE, Log, read


def lines(*steps):
    return [{"step": step, "loss": step / 10} for step in steps]


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    with Log(tmp_path, 0) as log:
        assert log.first is None
        for line in lines(1, 2):
            log.write(line)
            assert read(tmp_path / FILE)[-1] == line
        assert log.first == {"step": 1, "loss": 0.1}


def test_steps_that_are_taken_again_are_forgotten(tmp_path):
    with Log(tmp_path, 0) as log:
        for line in lines(1, 2, 3):
            log.write(line)
    with Log(tmp_path, 2) as log:
        assert log.first == {"step": 1, "loss": 0.1}
        log.write({"step": 3, "loss": 9.0})
    assert read(tmp_path / FILE) == [*lines(1, 2), {"step": 3, "loss": 9.0}]


def test_a_line_that_was_cut_off_is_none(tmp_path):
    (tmp_path / FILE).write_text(json.dumps(lines(1)[0]) + "\n" + '{"step": 2, "lo')
    assert read(tmp_path / FILE) == lines(1)
    assert read(tmp_path / "nothing") == []


@pytest.mark.parametrize("content", ["x\n", "[1]\n", '{"loss": 1}\n', '{"step": "1"}\n'])
def test_what_is_no_log_is_told(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(CheckpointError, match=r"log.jsonl .*remove it to go on"):
        read(tmp_path / FILE)
