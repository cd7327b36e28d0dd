"""A hash of all weights: the same for the same numbers, another one for any other number, name, shape or dtype."""

import ml_dtypes
import numpy as np
import pytest

from aimv2_np.storage.digest import hash_weights

STATE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3) / 7, "b": np.ones(2, np.float32)}


def test_the_same_numbers_in_another_order_of_names_and_of_memory():
    again = {"b": STATE["b"].copy(), "a": np.asfortranarray(STATE["a"])}
    assert hash_weights(again) == hash_weights(STATE)
    assert len(hash_weights(STATE)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"a": STATE["a"] + 1e-7}, {"a": STATE["a"].reshape(3, 2)}, {"a": STATE["a"].astype(np.float64)},
        {"a": STATE["a"].T}, {"c": STATE["b"]},
    ],
    ids=["a number", "a shape", "a dtype", "an order", "a name"],
)  # fmt: skip
def test_any_change_is_seen(change):
    assert hash_weights({**STATE, **change}) != hash_weights(STATE)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded_on_the_way_or_before_is_the_same(dtype):
    rounded = {
        name: array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype) for name, array in STATE.items()
    }
    assert hash_weights(STATE, dtype) == hash_weights(rounded)
    assert hash_weights(STATE, dtype) != hash_weights(STATE)
