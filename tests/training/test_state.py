import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.storage import save_safetensors
from aimv2_np.training.state import FILE, KEY, State, as_json, differences
from tests.support.training import begun, task


def test_what_is_kept_is_what_there_was(tmp_path):
    state, _ = begun(task(), averaged=True)
    state.step = 7
    for part in (state.first, state.second):
        for array in part.values():
            array += 0.5
    state.save(tmp_path, {"of": {"seed": 3}})
    found, facts = State.load(tmp_path)
    assert facts == {"of": {"seed": 3}}
    assert found.step == 7
    for part in ("weights", "first", "second", "average"):
        before, after = getattr(state, part), getattr(found, part)
        assert before.keys() == after.keys()
        for path, array in before.items():
            np.testing.assert_array_equal(after[path], array)
            assert after[path].flags.writeable  # the next step changes it


def test_the_weights_are_copied():
    made = task()
    state, _ = begun(made)
    state.weights["decoder.connector.bias"] += 1
    assert not made.network.decoder.connector.bias.any()


def test_of_weights_that_are_not_trained_no_means_are_kept():
    weights = {"a": np.ones(2), "b": np.ones(3)}
    state = State.new(weights, ["b"], averaged=True)
    assert state.weights.keys() == {"a", "b"}
    assert state.first.keys() == state.second.keys() == state.average.keys() == {"b"}


def test_no_training_is_none(tmp_path):
    assert State.load(tmp_path) is None


@pytest.mark.parametrize(
    ("metadata", "name", "said"),
    [
        ({}, "weights.a", "does not say how far its training is"),
        ({KEY: "[]"}, "weights.a", "does not say how far"),
        ({KEY: "{"}, "weights.a", "does not say how far"),
        ({KEY: '{"step": "1"}'}, "weights.a", "does not say how far"),
        ({KEY: '{"step": 1}'}, "a.b", "holds 'a.b'; expected names that begin with weights, first"),
    ],
)
def test_what_is_no_training_is_told(tmp_path, metadata, name, said):
    save_safetensors(tmp_path / FILE, {name: np.zeros(2, np.float32)}, metadata)
    with pytest.raises(CheckpointError, match=said):
        State.load(tmp_path)


def test_differences_are_named_by_their_path():
    known = as_json({"a": {"b": 1, "c": (1, 2)}, "d": None})
    assert list(differences(known, {"a": {"b": 2, "c": [1, 2]}, "e": 3})) == [("a.b", 1, 2), ("e", None, 3)]
    assert not list(differences(known, known))
