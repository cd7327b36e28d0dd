"""`Aimv2Model` against Transformers': every module of both towers, outputs, features, tuples (S6, S7)."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.comparison import assert_below, relative_error
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
from tests.support.tally import compared

# Texts with and without an end: both are what Transformers computes.
pytestmark = pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")


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
    found = {path: relative_error(array, theirs[path]) for path, array in ours.items()}
    assert_below(found, FLOAT64_TOLERANCE)
    compared("outputs", found, FLOAT64_TOLERANCE)


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


def test_transformers_never_computes_the_loss_that_it_documents() -> None:
    """S7: `return_loss=True` is swallowed there."""
    model, inputs = both_model(), {"pixel_values": pixels(), "input_ids": tokens()[: len(pixels())]}
    with torch.no_grad():
        theirs = their_model(model)(**their_inputs(inputs, torch.float32), return_loss=True)
    assert theirs.loss is None
    assert np.isfinite(model(**inputs, return_loss=True).loss)


def test_transformers_adds_a_mask_for_pictures_to_the_scores() -> None:
    """S9: older Transformers ignored it. Now zeros and ones reach the softmax as they are: no patch is hidden."""
    model, images = both_model().vision_model, pixels()
    theirs, patches = their_model(model), model(images).last_hidden_state.shape[1]
    mask = torch.ones(1, 1, 1, patches)
    mask[..., 0] = 0
    changed = images.copy()
    height, width = model.config.patch_shape
    changed[:, :, :height, :width] += 1  # the patch that the mask means to hide
    with torch.no_grad():
        plain, ones, hidden, seen = (
            theirs(torch.from_numpy(x), attention_mask=m).last_hidden_state[:, 1:].numpy()
            for x, m in ((images, None), (images, torch.ones_like(mask)), (images, mask), (changed, mask))
        )
    assert relative_error(ones, plain) < 1e-5
    assert relative_error(hidden, plain) > 1e-4
    assert relative_error(seen, hidden) > 1e-4


def test_features_are_arrays_here_and_outputs_there() -> None:
    """Their `get_image_features` returns an output of which `pooler_output` is the projected vector."""
    model, images = both_model(), pixels()
    with torch.no_grad():
        theirs = their_model(model).get_image_features(torch.from_numpy(images))
    ours = model.get_image_features(images)
    assert isinstance(ours, np.ndarray)
    assert not isinstance(theirs, torch.Tensor)
    assert relative_error(ours, theirs.pooler_output.numpy()) < 1e-5
