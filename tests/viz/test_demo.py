import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from aimv2_np.cli.app import app
from aimv2_np.cli.demo import MAKER

pytest.importorskip("matplotlib.figure", reason="drawing needs matplotlib, the extra viz")


def test_the_demo_draws_where_the_model_looked(tmp_path):
    path = tmp_path / "attention.png"
    result = CliRunner().invoke(app, ["demo", "--output", str(path)])
    assert result.exit_code == 0
    assert result.stderr == ""
    with Image.open(path) as image:
        image.load()
        assert image.info["Software"] == MAKER
        assert np.asarray(image.convert("L")).std() > 10  # not blank
