import copy
import pickle
import shutil
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aimv2_np import CheckpointError, load, textbook
from aimv2_np.backends.narrow import Narrow, can_stay
from aimv2_np.data import tiny_model_path
from aimv2_np.kernels.native.library import using
from aimv2_np.models import loading
from aimv2_np.storage.checkpoint import Checkpoint
from aimv2_np.tasks import convert, describe


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


@pytest.fixture(params=["bfloat16", "int8"])
def narrow(request, tmp_path):
    """The embedded model in another dtype, as it is stored and as float32 of the same values."""
    convert(tiny_model_path(), tmp_path / "narrow", dtype=request.param)
    convert(tmp_path / "narrow", tmp_path / "wide", dtype="float32")
    return tmp_path / "narrow", tmp_path / "wide"


def outputs(model):
    config = model.config
    ids = np.full((2, 5), config.text_config.eos_token_id)
    pixels = np.random.default_rng(0).standard_normal((2, 3, *config.vision_config.image_shape), np.float32)
    return model(ids, pixels)


@pytest.mark.skipif(not can_stay(), reason="no compiled kernels here, which read narrow matrices")
def test_matrices_stay_narrow_in_the_file(narrow):
    folder, wide = map(load, narrow)
    kept = {name for name, array in folder.state_dict().items() if isinstance(array, Narrow)}
    assert "vision_model.encoder.layers.0.ffn.gate_proj.weight" in kept
    assert not any("norm" in name or name.endswith("bias") for name in kept)
    for name in kept:
        assert isinstance(folder.state_dict()[name].numbers.base, np.ndarray)  # a view
        assert not folder.state_dict()[name].numbers.flags.writeable
    memory = describe(narrow[0]).memory
    assert memory[0] > memory[1] / 2
    expected = outputs(wide)
    for name, array in outputs(folder).items():
        np.testing.assert_array_equal(array, expected[name])  # to the bit
    assert folder.dtype == "float32"
    with using(None):
        np.testing.assert_allclose(outputs(folder).image_embeds, expected.image_embeds, atol=1e-5)
    with textbook():
        np.testing.assert_allclose(outputs(folder).text_embeds, expected.text_embeds, atol=1e-5)


def test_without_kernels_they_are_widened_once(narrow):
    with using(None):
        model = load(narrow[0])
    assert not any(isinstance(array, Narrow) for array in model.state_dict().values())
    for name, array in load(narrow[1]).state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("which", [0, 1])
def test_copies_and_other_processes(narrow, copied, which):
    model = load(narrow[which])
    expected = outputs(model)
    for name, array in outputs(copied(model)).items():
        np.testing.assert_array_equal(array, expected[name])


def test_saving_and_other_dtypes_give_floats(narrow, tmp_path):
    model, wide = map(load, narrow)
    model.save_pretrained(tmp_path / "saved")
    for other, dtype in ((load(tmp_path / "saved"), "float32"), (model.to(dtype="float64"), "float64"),
                         (load(narrow[0], dtype="float16"), "float16")):  # fmt: skip
        assert other.dtype == dtype
        for name, array in wide.state_dict().items():
            np.testing.assert_array_equal(other.state_dict()[name], array.astype(dtype))


DAMAGES = {
    "no factors": (lambda scale: None, "is stored as I8; expected weights in .* or I8 with .*_scale"),
    "too few factors": (lambda scale: scale[1:], "expected a number for each row of"),
    "factors for columns": (lambda scale: np.repeat(scale, 3, axis=1), "expected a number for each row of"),
    "whole factors": (lambda scale: scale.astype("int32"), "expected a number for each row of"),
    "a factor that is not finite": (lambda scale: scale + np.inf, "not finite"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_int8_without_factors_that_fit_is_refused(tmp_path, damage, message):
    convert(tiny_model_path(), tmp_path, dtype="int8")
    state, name = load_file(tmp_path / "model.safetensors"), "text_projection.weight_scale"
    state[name] = damage(state[name])
    save_file({name: array for name, array in state.items() if array is not None}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)
