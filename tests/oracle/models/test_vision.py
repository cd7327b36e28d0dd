"""`Aimv2VisionModel` against Transformers': every module, native and learned positions, square and rectangular."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from aimv2_np import Aimv2VisionModel
from aimv2_np.kernels.numpy import attention, gate
from tests.support.comparison import relative_error
from tests.support.oracle import FLOAT64_TOLERANCE, assert_same, counted, their_model, unrounded
from tests.support.strategies import Case, vision_cases

grids = st.tuples(st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=120)
@given(case=vision_cases())
@counted
def test_every_module(case: Case) -> None:
    assert_same(case)


@settings(max_examples=40)
@given(case=vision_cases(rectangular=True))
@counted
def test_rectangular_pictures_and_patches(case: Case) -> None:
    assert_same(case)


@settings(max_examples=25)
@given(case=vision_cases(native=st.just(True)))
@counted
def test_float16(case: Case) -> None:
    assert_same(case, dtype="float16")


@settings(max_examples=25)
@given(case=vision_cases(native=st.just(True)), size=st.integers(1, 1000))
@counted
def test_in_small_tiles(case: Case, size: int) -> None:
    """The faster bodies cut work into pieces by size, which pictures this small would not be cut by."""
    with patch.object(attention, "SCORES_BYTES", size), patch.object(gate, "BLOCK_ELEMENTS", size):
        assert_same(case)


@settings(max_examples=15)
@given(case=vision_cases())
@counted
def test_transformers_default_attention(case: Case) -> None:
    """Its sdpa attention, which users get unless they ask for another, is the same for pictures."""
    model = case.model().to(dtype="float64")
    theirs = their_model(model)
    theirs.set_attn_implementation("sdpa")
    with unrounded(), torch.no_grad():
        expected = theirs(torch.from_numpy(case.inputs["pixel_values"]).double()).last_hidden_state.numpy()
    assert relative_error(model(**case.inputs).last_hidden_state, expected) <= FLOAT64_TOLERANCE


@settings(max_examples=40)
@given(case=vision_cases(native=st.just(False), rectangular=True), grid=grids)
@counted
def test_learned_positions_on_another_grid(case: Case, grid: tuple[int, int]) -> None:
    """S4: what theirs computes with a table that PyTorch's bicubic interpolation has stretched."""
    model, path = case.model().to(dtype="float64"), "embeddings.position_embedding.weight"
    table = torch.from_numpy(model.state_dict()[path]).reshape(1, *case.config.grid, -1).permute(0, 3, 1, 2)
    table = interpolate(table, size=grid, mode="bicubic", align_corners=False, antialias=False)
    table = table.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    (ph, pw), seed = case.config.patch_shape, case.weight_settings["seed"]
    config = replace(case.config, image_size=(grid[0] * ph, grid[1] * pw))
    weights = model.state_dict() | {path: table}
    theirs = their_model(Aimv2VisionModel.skeleton(config).map(lambda name, _: weights[name]))
    pixels = np.random.default_rng(seed).standard_normal((2, config.num_channels, *config.image_shape))
    with unrounded(), torch.no_grad():
        expected = theirs(torch.from_numpy(pixels)).last_hidden_state.numpy()
    got = model(pixels, interpolate_pos_encoding=True).last_hidden_state
    assert relative_error(got, expected) <= FLOAT64_TOLERANCE
