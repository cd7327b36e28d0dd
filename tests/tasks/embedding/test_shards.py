"""What a run has computed so far: it is there again whatever ended the run, and it is never another run's."""

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.tasks.embedding.shards import MANIFEST, ShardStore, arrays_of, parts_folder, remove_parts

RUN = {"model": "m", "kind": "pooled"}


@pytest.fixture
def output(tmp_path):
    """Of a run over ten pictures, of which the first four are done, number 2 being broken."""
    output = tmp_path / "features.safetensors"
    store = ShardStore(output, RUN, 10)
    store.add(4, {"features": np.arange(6, dtype=np.float32).reshape(3, 2)}, {2: "cut short"})
    store.close()
    return output


def test_it_goes_on_where_it_ended(output):
    store = ShardStore(output, RUN, 10)
    assert store.done == 4
    store.add(10, {"features": np.full((6, 2), 7, np.float32)}, {})
    np.testing.assert_array_equal(
        np.concatenate(list(arrays_of(store.shards, "features"))), [[0, 1], [2, 3], [4, 5], *[[7, 7]] * 6]
    )
    assert store.shards[0].broken == {2: "cut short"}
    store.close()


def test_half_a_line_is_as_if_it_had_not_been_written(output):
    manifest = parts_folder(output) / MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(whole + whole.splitlines()[-1][:-5])
    store = ShardStore(output, RUN, 10)
    assert store.done == 4
    store.close()


@pytest.mark.parametrize("changes", [{"model": "other"}, {"kind": "mean"}])
def test_another_run_does_not_go_on_with_it(output, changes):
    with pytest.raises(ValueError, match="--restart"):
        ShardStore(output, {**RUN, **changes}, 10)
    store = ShardStore(output, {**RUN, **changes}, 10, restart=True)
    assert store.done == 0
    store.close()


def test_a_shard_that_is_gone_is_damage(output):
    next(parts_folder(output).glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError):
        ShardStore(output, RUN, 10)


def test_two_at_once(output):
    store = ShardStore(output, RUN, 10)
    with pytest.raises(BlockingIOError, match=output.name):
        ShardStore(output, RUN, 10)
    store.close()


def test_nothing_is_left_when_it_is_removed(output):
    remove_parts(parts_folder(output))
    assert not parts_folder(output).exists()
