"""`aimv2-np info --backends`: a line for Python, NumPy, the kernels in C and CuPy, and one for each device."""

import json

import numpy as np
from click.testing import CliRunner

from aimv2_np.cli.app import app


def told(*options):
    result = CliRunner().invoke(app, ["info", "--backends", *options], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_line_for_each(cupy):
    lines = [line.split()[0] for line in told().splitlines() if line.strip()]
    assert lines[:4] == ["python", "numpy", "float32", "cupy"]
    assert lines.count("device") == cupy.cuda.runtime.getDeviceCount()
    assert np.__version__ in told()
    assert "compute capability" in told()


def test_as_json(cupy):
    found = json.loads(told("--json"))
    assert set(found) == {"python", "numpy", "native", "cupy"}
    assert found["cupy"]["version"] == cupy.__version__
