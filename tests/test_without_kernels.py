"""A student deletes `kernels/`: everything still works, and gives the same numbers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import aimv2_np
from tests.support.models import both_model, pixels, tokens

SCRIPT = """
import sys
import numpy as np
import aimv2_np
from aimv2_np.network.attention import attention
from aimv2_np.network.linear import linear
from tests.support.models import both_model, pixels, tokens

assert not attention.bodies and not linear.bodies
assert not [name for name in sys.modules if name.startswith("aimv2_np.kernels")]
assert aimv2_np.__file__.startswith(sys.argv[1])
output = both_model()(tokens(), pixels(), return_loss=True)
np.savez(sys.argv[2], loss=output.loss, logits=output.logits_per_image, image=output.image_embeds)
"""


def test_the_equations_stand_on_their_own(tmp_path):
    package = tmp_path / "copy" / "aimv2_np"
    leave_out = shutil.ignore_patterns("kernels", "__pycache__")
    shutil.copytree(Path(aimv2_np.__file__).parent, package, ignore=leave_out)
    shutil.copytree(Path(__file__).parent / "support", package.parent / "tests" / "support")
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", SCRIPT, str(package.parent), str(tmp_path / "out.npz")]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    alone = np.load(tmp_path / "out.npz")
    here = both_model()(tokens(), pixels(), return_loss=True)
    # float32 through two small blocks: another order of sums costs a few ε of numbers of size five.
    np.testing.assert_allclose(alone["logits"], here.logits_per_image, atol=1e-5)
    np.testing.assert_allclose(alone["image"], here.image_embeds, atol=2e-6)
    np.testing.assert_allclose(alone["loss"], here.loss, atol=1e-5)
