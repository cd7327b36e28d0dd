"""Commands that compare exit with 0 for the same, 1 for different, and 2 when it cannot be told."""

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from aimv2_np.cli.app import app


@pytest.fixture
def files(tmp_path):
    sides = {"one": np.ones((1, 2, 3), np.float32), "other": np.zeros((1, 2, 3), np.float32)}
    for name, array in sides.items():
        save_file({"rms_norm": array}, tmp_path / f"{name}.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no safetensors file")
    return tmp_path


@pytest.mark.parametrize(("other", "code"), [("one", 0), ("other", 1), ("broken", 2), ("absent", 2)])
def test_compare(files, other, code):
    paths = [str(files / f"{name}.safetensors") for name in ("one", other)]
    assert CliRunner().invoke(app, ["compare", *paths]).exit_code == code


def test_what_cannot_be_told_is_one_line(files):
    result = CliRunner().invoke(app, ["compare", str(files / "one.safetensors"), str(files / "absent.safetensors")])
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_debug_shows_the_traceback(files):
    paths = [str(files / f"{name}.safetensors") for name in ("one", "broken")]
    result = CliRunner().invoke(app, ["compare", *paths, "--debug"])
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit)
