import shutil
import struct

import numpy as np
import pytest

from aimv2_np import load
from aimv2_np.data import tiny_model_path
from aimv2_np.models import loading
from aimv2_np.storage.checkpoint import Checkpoint
from aimv2_np.tasks import describe


@pytest.fixture(params=[0, 1, 2, 3])
def padded(request, tmp_path):
    """The embedded model with so many bytes too many in its header, as writers leave it that do not pad."""
    folder = tmp_path / "padded"
    shutil.copytree(tiny_model_path(), folder)
    raw = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = raw[8 : 8 + length].rstrip(b" ")
    header += b" " * (-len(header) % 8 + request.param)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + length :])
    return folder, request.param


def test_what_cannot_be_mapped_is_copied_and_its_pages_let_go(padded, monkeypatch):
    folder, extra = padded
    released = []
    monkeypatch.setattr(loading, "RELEASE_BYTES", 2**20)
    monkeypatch.setattr(Checkpoint, "release", lambda self: released.append(self))
    state, expected = load(folder).state_dict(), load(tiny_model_path()).state_dict()
    for name, array in state.items():
        assert array.flags.aligned  # NumPy would copy it in every product
        np.testing.assert_array_equal(array, expected[name])
    nbytes = sum(array.nbytes for array in state.values())
    assert (nbytes // 2**21 < len(released) <= nbytes // 2**20) if extra else not released


def test_it_is_told(padded):
    folder, extra = padded
    it = describe(folder)
    numbers = it.parameters if extra else 0
    assert it.unaligned == numbers
    assert it.memory == (4 * (it.parameters - numbers), 4 * numbers)
