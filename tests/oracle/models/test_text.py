"""`Aimv2TextModel` against Transformers': every module, causality (S1), padding (S2), too many tokens (S8)."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Aimv2TextModel as TheirTextModel

from aimv2_np import Aimv2TextConfig, Aimv2TextModel
from aimv2_np.kernels.numpy import attention, gate
from tests.support.comparison import relative_error
from tests.support.oracle import (
    FLOAT64_TOLERANCE,
    assert_same,
    counted,
    their_config,
    their_model,
    unrounded,
)
from tests.support.strategies import Case, make_weights, text_cases

# Texts with and without an end: both are what Transformers computes.
pytestmark = pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")


@settings(max_examples=110)
@given(case=text_cases())
@counted
def test_every_module(case: Case) -> None:
    assert_same(case)


@settings(max_examples=20)
@given(case=text_cases())
@counted
def test_float16(case: Case) -> None:
    assert_same(case, dtype="float16")


@settings(max_examples=25)
@given(case=text_cases(), size=st.integers(1, 500))
@counted
def test_in_small_tiles(case: Case, size: int) -> None:
    """The faster bodies cut work, and the mask with it, into pieces by size."""
    with patch.object(attention, "SCORES_BYTES", size), patch.object(gate, "BLOCK_ELEMENTS", size):
        assert_same(case)


@settings(max_examples=40)
@given(case=text_cases(masks=("none", "ones")))
@counted
def test_not_causal_is_transformers_without_a_mask(case: Case) -> None:
    """S1: without a mask Transformers' text tower looks both ways, whatever its attention."""
    model = case.model().to(dtype="float64")
    with unrounded(), torch.no_grad():
        theirs = their_model(model)(torch.from_numpy(case.inputs["input_ids"]))
    ours = model(**case.inputs, causal=False)
    for name in ("last_hidden_state", "pooler_output"):
        assert relative_error(ours[name], theirs[name].numpy()) <= FLOAT64_TOLERANCE


SETTINGS = {"seed": 5, "matrix": 1.0, "bias": 0.1, "table": 1.0, "gain": "near one", "logit_scale": 2.6592}


def text_model(**changes: object) -> Aimv2TextModel:
    config = Aimv2TextConfig(
        vocab_size=30, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=3,
        max_position_embeddings=9, eos_token_id=29, **changes,
    )  # fmt: skip
    weights = make_weights(config, **SETTINGS)
    return Aimv2TextModel.skeleton(config).map(lambda path, _: weights[path])


def sdpa(model: Aimv2TextModel) -> TheirTextModel:
    """Theirs as users get it: with its default attention."""
    theirs = their_model(model)
    theirs.set_attn_implementation("sdpa")
    return theirs


IDS = np.array([[3, 7, 1, 29, 29], [28, 0, 5, 9, 29]])


def test_transformers_default_attention_with_a_mask_of_ones_is_not_causal() -> None:
    """S1, the bug itself: the default path equals our causal=False, and is far from what a causal tower gives."""
    model, ones = text_model(), np.ones_like(IDS)
    with torch.no_grad():
        theirs = sdpa(model)(torch.from_numpy(IDS), torch.from_numpy(ones)).last_hidden_state.numpy()
    assert relative_error(model(IDS, ones, causal=False).last_hidden_state, theirs) < 1e-5
    assert relative_error(model(IDS, ones).last_hidden_state, theirs) > 0.1


def test_transformers_default_attention_with_padding_is_causal() -> None:
    """S1: with a zero in the mask, Transformers' default path keeps it, and with it causality."""
    model, mask = text_model(), np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    with torch.no_grad():
        theirs = sdpa(model)(torch.from_numpy(IDS), torch.from_numpy(mask)).last_hidden_state.numpy()
    assert relative_error(model(IDS, mask).last_hidden_state, theirs) < 1e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    """S2: theirs padded with anything, on either side, equals ours on the valid rows."""
    model = text_model()
    theirs = their_model(model)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    mask = mask[:, ::-1].copy() if side == "left" else mask
    noisy = np.where(mask == 1, IDS, 13)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IDS), torch.from_numpy(mask)).last_hidden_state.numpy()
    got = model(noisy, mask).last_hidden_state
    rows = mask == 1
    assert relative_error(got[rows], expected[rows]) < 1e-5


def test_rows_without_any_key_are_finite() -> None:
    """S2: what left padding computes for its padding means nothing, but is no NaN."""
    mask = np.array([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]])
    assert np.isfinite(text_model()(IDS, mask).last_hidden_state).all()


def test_the_pooled_row_is_that_of_the_first_end_of_text_token_or_the_first_row() -> None:
    ids = np.array([[3, 29, 1, 29, 2], [1, 2, 3, 4, 5], [29, 1, 1, 1, 1], [1, 1, 1, 1, 29]])
    model = text_model()
    with torch.no_grad():
        theirs = their_model(model)(torch.from_numpy(ids), torch.ones_like(torch.from_numpy(ids)))
    ours = model(ids)
    assert np.array_equal(ours.pooler_output, ours.last_hidden_state[[0, 1, 2, 3], [1, 0, 0, 4]])
    assert relative_error(ours.pooler_output, theirs.pooler_output.numpy()) < 1e-5


def test_ids_and_lengths_that_transformers_cannot_take_either() -> None:
    """S8: theirs raises IndexError and ValueError; ours a ValueError for both."""
    model = text_model()
    theirs = their_model(model)
    outside, long = np.array([[30]]), np.zeros((1, 10), dtype=np.int64)
    with pytest.raises(IndexError):
        theirs(torch.from_numpy(outside))
    with pytest.raises(ValueError, match="max_position_embeddings"):
        theirs(torch.from_numpy(long))
    with pytest.raises(ValueError, match="input_ids"):
        model(outside)
    with pytest.raises(ValueError, match="input_ids"):
        model(long)


def test_float64_without_the_patch_shows_transformers_casts() -> None:
    """Transformers rounds to float32 in RMSNorm and softmax even in float64: 1e-8 away from ours, not 1e-15."""
    model = text_model().to(dtype="float64")
    ids, ones = torch.from_numpy(IDS), torch.ones(IDS.shape, dtype=torch.int64)
    theirs, ours = their_model(model), model(IDS).last_hidden_state
    with torch.no_grad():
        plain = theirs(ids, ones).last_hidden_state.numpy()
        with unrounded():
            patched = theirs(ids, ones).last_hidden_state.numpy()
    assert 1e-9 < relative_error(plain, ours) < 1e-5
    assert relative_error(patched, ours) < FLOAT64_TOLERANCE


def test_eager_is_what_the_oracle_uses() -> None:
    assert their_config(text_model().config)._attn_implementation == "eager"


def test_padding_on_the_left_with_the_end_token_is_not_the_end_of_a_text() -> None:
    """Theirs pools the first end-of-text token, be it padding; ours the text's own, where the mask says which it is."""
    model, mask = text_model(), np.array([[0, 0, 1, 1, 1]])
    padded, alone = np.array([[29, 29, 3, 7, 29]]), np.array([[3, 7, 29]])
    ours, theirs = model(padded, mask), their_model(model)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(padded), torch.from_numpy(mask))
    assert relative_error(ours.last_hidden_state[:, 2:], expected.last_hidden_state[:, 2:].numpy()) < 1e-5
    assert np.array_equal(ours.pooler_output, ours.last_hidden_state[:, -1])
    assert np.array_equal(expected.pooler_output.numpy(), expected.last_hidden_state[:, 0].numpy())
    assert model(alone).pooler_output.shape == ours.pooler_output.shape
