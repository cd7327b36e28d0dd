"""Mistakes in attention: in one of its modules alone, and said with the sizes of the model at hand."""

import numpy as np
import pytest

from tests.support import faults
from tests.support.models import vision_model
from tests.support.port import Port


def test_the_sentence_names_the_size_of_a_head(diagnosed):
    found = diagnosed(faults.NoScale, vision_model(hidden_size=24, num_attention_heads=2), input_ids=None)
    assert found.identifier == "missing_scale"
    assert "d = 12" in found.sentence


def test_the_scale_of_all_heads_together(diagnosed):
    found = diagnosed(faults.ScaleOfHidden, vision_model(), input_ids=None)
    assert found.identifier == "wrong_scale"
    assert "heads together" in found.sentence


class KeysAndValuesOfTheHead(Port):
    def weight(self, path):
        exchanged = {"head.k_proj": "head.v_proj", "head.v_proj": "head.k_proj"}
        return super().weight(exchanged.get(path, path))

    def bias(self, path):
        exchanged = {"head.k_proj": "head.v_proj", "head.v_proj": "head.k_proj"}
        return super().bias(exchanged.get(path, path))


def test_keys_and_values_of_the_pooling_head(diagnosed):
    found = diagnosed(KeysAndValuesOfTheHead, vision_model(), input_ids=None)
    assert found.identifier == "qkv_order"
    assert "head" in found.sentence


@pytest.mark.parametrize("mask", [None, np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])])
def test_text_that_looks_ahead(diagnosed, mask):
    found = diagnosed(faults.NotCausal, attention_mask=mask)
    assert found.identifier == "text_not_causal"
    assert "text_model.encoder.layers.0.attention" in found.sentence


def heads_of(numbers):
    """A port whose heads take keys and values of others: the `numbers` of these."""

    class Sharing(Port):
        def attend(self, q, k, v, *rest):
            k, v = (np.concatenate([np.split(x, 4, axis=-1)[h] for h in numbers], axis=-1) for x in (k, v))
            return super().attend(q, k, v, *rest)

    return Sharing


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([0, 0, 0, 0], "1 heads of keys and values for its 4 of queries, the first"),
        ([0, 0, 1, 1], "2 heads of keys and values for its 4 of queries, the first heads, each for as many"),
        ([0, 1, 0, 1], "the first heads, in turn"),
        ([0, 0, 2, 2], "the first of each group"),
    ],
)
def test_heads_that_share_keys_and_values(diagnosed, numbers, words):
    found = diagnosed(heads_of(numbers), vision_model(num_attention_heads=4), input_ids=None)
    assert found.identifier == "wrong_heads"
    assert words in found.sentence


@pytest.mark.parametrize("name", ["head.k_proj", "head.v_proj"])
def test_a_bias_of_the_head(diagnosed, name):
    class NoBias(Port):
        def bias(self, path):
            return None if path == name else super().bias(path)

    found = diagnosed(NoBias, vision_model(qkv_bias=True), input_ids=None)
    assert (found.identifier, found.sentence) == ("missing_bias", f"{name} leaves out its bias")
