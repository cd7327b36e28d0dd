"""aimv2_np/storage/save.py"""

import json
import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from aimv2_np.storage import open_checkpoint, save_checkpoint

OLD = {"a": np.zeros((2, 3), "f4"), "b": np.zeros(4, "f4"), "c": np.zeros(5, "f4")}
NEW = {name: values + 1 for name, values in OLD.items()}
SHARDED, SINGLE = 24, "5GB"  # in shards of 24 bytes OLD and NEW take three files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def content(folder):
    """OLD or NEW: all of one of them."""
    checkpoint = open_checkpoint(folder)
    values = {float(value) for name in checkpoint.shapes for value in np.ravel(checkpoint.read(name))}
    assert checkpoint.shapes == {name: array.shape for name, array in OLD.items()}
    assert values in ({0.0}, {1.0})
    return OLD if values == {0.0} else NEW


@pytest.mark.parametrize("length", range(1, 9))
def test_every_tensor_is_aligned(tmp_path, length):
    state = {f"{'x' * length}{dtype}": np.ones(3, dtype) for dtype in ("f2", "f4", "f8")}
    save_checkpoint(tmp_path, state)
    checkpoint = open_checkpoint(tmp_path)
    for name, array in state.items():
        memory = checkpoint.read(name, str(array.dtype))
        while isinstance(memory, np.ndarray):  # a tensor that is not aligned would be copied
            memory = memory.base
        assert isinstance(memory, memoryview | mmap.mmap)


def test_shards_are_named_and_indexed_as_by_transformers(tmp_path):
    save_checkpoint(tmp_path, OLD, max_shard_size=40)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert names(tmp_path) == [first, second, "model.safetensors.index.json"]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {"metadata": {"total_size": 60}, "weight_map": {"a": first, "b": first, "c": second}}
    assert set(load_file(tmp_path / second)) == {"c"}


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=12), limit=st.integers(1, 120))
def test_no_shard_exceeds_the_limit_but_for_one_large_tensor(tmp_path_factory, sizes, limit):
    folder = tmp_path_factory.mktemp("x")
    state = {f"x{number}": np.full(size, number, "u1") for number, size in enumerate(sizes)}
    save_checkpoint(folder, state, max_shard_size=limit)
    loaded = {}
    for path in folder.glob("*.safetensors"):
        shard = load_file(path)
        assert shard
        assert len(shard) == 1 or sum(array.nbytes for array in shard.values()) <= limit
        loaded.update(shard)
    assert loaded.keys() == state.keys()
    assert all((loaded[name] == state[name]).all() for name in state)


@pytest.mark.parametrize(
    ("size", "count"), [(24, 3), ("24", None), ("0.024KB", 3), ("5GB", 1), ("1 mb", 1), ("36e0", None)]
)
def test_sizes_are_numbers_or_decimal_units(tmp_path, size, count):
    if count is None:
        with pytest.raises(ValueError, match="max_shard_size is"):
            save_checkpoint(tmp_path, OLD, max_shard_size=size)
        assert names(tmp_path) == []
    else:
        save_checkpoint(tmp_path, OLD, max_shard_size=size)
        assert len(list(tmp_path.glob("*.safetensors"))) == count


@pytest.mark.parametrize("size", [0, -5, True, 1.5, None, "", "GB", "0GB", "-1GB", "5GiB", "nanGB", "9" * 30 + "GB"])
def test_what_is_no_size_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match="expected a number of bytes, or a text like"):
        save_checkpoint(tmp_path, OLD, max_shard_size=size)


def test_a_model_without_arrays_is_refused(tmp_path):
    with pytest.raises(ValueError, match="state is empty"):
        save_checkpoint(tmp_path / "new", {})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("before", [SHARDED, SINGLE])
@pytest.mark.parametrize("after", [SHARDED, SINGLE])
def test_an_older_checkpoint_is_replaced_only_on_request(tmp_path, before, after):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "other.safetensors").write_bytes(b"")
    save_checkpoint(tmp_path, OLD, before)
    old = names(tmp_path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_checkpoint(tmp_path, NEW, after)
    assert names(tmp_path) == old
    assert content(tmp_path) is OLD
    for _ in range(3):
        save_checkpoint(tmp_path, NEW, after, overwrite=True)
        assert content(tmp_path) is NEW
        # the new checkpoint's own files, and the two that never were a checkpoint's
        assert len(names(tmp_path)) == 2 + (4 if after == SHARDED else 1)


def test_a_checkpoint_can_be_saved_over_the_one_it_is_mapped_from(tmp_path):
    save_checkpoint(tmp_path, NEW)
    checkpoint = open_checkpoint(tmp_path)
    mapped = {name: checkpoint.read(name) for name in checkpoint.shapes}
    save_checkpoint(tmp_path, mapped, SHARDED, overwrite=True)
    assert content(tmp_path) is NEW
    assert all((array == 1).all() for array in mapped.values())


class Interrupted(BaseException):
    """Like a KeyboardInterrupt, at a chosen moment."""


@pytest.mark.parametrize("before", [SHARDED, SINGLE, None])
@pytest.mark.parametrize("after", [SHARDED, SINGLE])
def test_interrupted_anywhere_the_folder_holds_the_old_or_the_new(tmp_path, monkeypatch, before, after):
    """Every change to the folder becomes visible by a rename or a removal: stop before each of them in turn."""
    original = {method: getattr(Path, method) for method in ("replace", "unlink")}
    seen, step = [], 0
    while True:
        folder = tmp_path / f"step{step}"
        folder.mkdir()
        if before is not None:
            save_checkpoint(folder, OLD, before)
        left = step

        def interruptible(method):
            def act(path, *args, **kwargs):
                nonlocal left
                # removing a temporary file is tidying up, which an interrupted process does as well
                if path.suffix != ".tmp" or method == "replace":
                    if left == 0:
                        raise Interrupted
                    left -= 1
                return original[method](path, *args, **kwargs)

            return act

        with monkeypatch.context() as patch:
            for method in original:
                patch.setattr(Path, method, interruptible(method))
            try:
                save_checkpoint(folder, NEW, after, overwrite=True)
            except Interrupted:
                finished = False
            else:
                finished = True
        assert not [name for name in names(folder) if name.endswith(".tmp")]
        seen.append(None if before is None and not list(folder.glob("model.safetensors*")) else content(folder))
        if finished:
            break
        step += 1
    expected_old = OLD if before is not None else None
    first_new = next(number for number, value in enumerate(seen) if value is NEW)
    assert all(value is expected_old for value in seen[:first_new])
    assert all(value is NEW for value in seen[first_new:])
    assert first_new > 0
