"""Activations in the order in which they are computed, whatever the order of an output's fields."""

from aimv2_np.comparison.order import in_execution_order
from tests.support.models import both_model, pixels, tokens, vision_model
from tests.support.port import recorded


def test_the_last_hidden_state_stands_behind_its_norm():
    arrays = recorded(vision_model(), {"pixel_values": pixels()})
    order = in_execution_order(path for path in arrays if "/" not in path)
    assert order.index("rms_norm") + 1 == order.index("last_hidden_state") < order.index("head.k_proj")


def test_without_the_norm_it_stands_before_the_head():
    assert in_execution_order(["head.k_proj", "head", "last_hidden_state"]) == [
        "last_hidden_state", "head.k_proj", "head"
    ]  # fmt: skip


def test_logits_are_last_and_nothing_is_lost():
    arrays = recorded(both_model(), {"pixel_values": pixels(), "input_ids": tokens()})
    paths = [path for path in arrays if "/" not in path]
    order = in_execution_order(paths)
    assert sorted(order) == sorted(paths)
    assert all("logits" in path for path in order[-2:])
    for tower in ("vision_model", "text_model"):
        assert order.index(f"{tower}.rms_norm") + 1 == order.index(f"{tower}.last_hidden_state")
