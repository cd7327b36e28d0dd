"""`Aimv2Model` against Transformers': every module of both towers, outputs, features, tuples (S6, S7)."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.comparison import relative_error
from tests.support.models import both_model, pixels, tokens
from tests.support.oracle import (
    FLOAT64_TOLERANCE,
    assert_same,
    counted,
    their_inputs,
    their_model,
    unrounded,
)
from tests.support.strategies import Case, two_tower_cases, vision_cases


@settings(max_examples=60)
@given(case=two_tower_cases())
@counted
def test_every_module(case: Case) -> None:
    assert_same(case)


@settings(max_examples=15)
@given(case=two_tower_cases())
@counted
def test_float16(case: Case) -> None:
    assert_same(case, dtype="float16")


def flat(output: Any, path: str = "") -> dict[str, tuple[int, ...] | np.ndarray]:
    """Path -> array of an output, ours or theirs, as nested tuples by position or by key."""
    if isinstance(output, torch.Tensor | np.ndarray | np.generic):
        return {path: output.numpy() if isinstance(output, torch.Tensor) else np.asarray(output)}
    items = output.items() if hasattr(output, "items") else enumerate(output)
    return {name: array for key, value in items for name, array in flat(value, f"{path}/{key}").items()}


def assert_outputs_equal(ours: Any, theirs: Any) -> None:
    """The same fields or positions in the same order, and the same arrays in them."""
    ours, theirs = flat(ours), flat(theirs)
    assert list(ours) == list(theirs)
    for path, array in ours.items():
        assert relative_error(array, theirs[path]) <= FLOAT64_TOLERANCE, path


@settings(max_examples=50)
@given(case=two_tower_cases(), states=st.booleans(), attentions=st.booleans(), as_dict=st.booleans())
@counted
def test_outputs(case: Case, states: bool, attentions: bool, as_dict: bool) -> None:
    """S6, S7: hidden states, attentions and nested tuples, in the order that Transformers has."""
    model = case.model().to(dtype="float64")
    options = {"output_hidden_states": states, "output_attentions": attentions, "return_dict": as_dict}
    with unrounded(), torch.no_grad():
        theirs = their_model(model)(**their_inputs(case.inputs, torch.float64), **options)
    assert_outputs_equal(model(**case.inputs, **options), theirs)


@settings(max_examples=25)
@given(case=vision_cases(), states=st.booleans(), attentions=st.booleans(), as_dict=st.booleans())
@counted
def test_outputs_of_the_vision_tower(case: Case, states: bool, attentions: bool, as_dict: bool) -> None:
    model = case.model().to(dtype="float64")
    options = {"output_hidden_states": states, "output_attentions": attentions, "return_dict": as_dict}
    with unrounded(), torch.no_grad():
        theirs = their_model(model)(**their_inputs(case.inputs, torch.float64), **options)
    assert_outputs_equal(model(**case.inputs, **options), theirs)


@settings(max_examples=25)
@given(case=two_tower_cases())
@counted
def test_features(case: Case) -> None:
    """Ours returns the projected features; theirs an output whose `pooler_output` they are."""
    model = case.model().to(dtype="float64")
    inputs = their_inputs(case.inputs, torch.float64)
    with unrounded(), torch.no_grad():
        theirs = their_model(model)
        images = theirs.get_image_features(inputs["pixel_values"]).pooler_output.numpy()
        texts = theirs.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output.numpy()
    assert relative_error(model.get_image_features(case.inputs["pixel_values"]), images) <= FLOAT64_TOLERANCE
    ours = model.get_text_features(case.inputs["input_ids"], case.inputs.get("attention_mask"))
    assert relative_error(ours, texts) <= FLOAT64_TOLERANCE


@settings(max_examples=10)
@given(case=two_tower_cases())
@counted
def test_towers_alone(case: Case) -> None:
    """Either tower of the pair gives what it gives inside the pair."""
    model = case.model()
    both = model(**case.inputs)
    vision = model(pixel_values=case.inputs["pixel_values"])
    text = model(input_ids=case.inputs["input_ids"], attention_mask=case.inputs.get("attention_mask"))
    assert np.array_equal(vision.image_embeds, both.image_embeds)
    assert vision.text_embeds is None
    assert vision.logits_per_image is None
    assert np.array_equal(text.text_embeds, both.text_embeds)
    assert text.image_embeds is None
    assert text.logits_per_text is None


@settings(max_examples=20)
@given(case=two_tower_cases())
@counted
def test_loss(case: Case) -> None:
    """S7: the documented loss, which Transformers never computes, from its logits with PyTorch's cross-entropy."""
    model = case.model().to(dtype="float64")
    ids = np.resize(case.inputs["input_ids"], (len(case.inputs["pixel_values"]), case.inputs["input_ids"].shape[1]))
    output = model(input_ids=ids, pixel_values=case.inputs["pixel_values"], return_loss=True)
    logits, diagonal = torch.from_numpy(output.logits_per_text), torch.arange(len(ids))
    expected = (
        torch.nn.functional.cross_entropy(logits, diagonal) + torch.nn.functional.cross_entropy(logits.T, diagonal)
    ) / 2
    # Near zero the loss is a difference of logits of up to a hundred.
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-12, abs=1e-13)


def test_features_of_length_zero() -> None:
    """Transformers divides them by their length, zero, and gets NaN; ours stay zero, with every logit zero."""
    model = both_model().map(lambda path, array: 0 * array if path == "visual_projection.weight" else array)
    inputs = {"pixel_values": pixels(), "input_ids": tokens()}
    with torch.no_grad():
        theirs = their_model(model)(**their_inputs(inputs, torch.float32))
    assert theirs.image_embeds.isnan().all()
    output = model(**inputs)
    assert not output.image_embeds.any()
    assert not output.logits_per_image.any()
