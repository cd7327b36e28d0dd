"""Positions: Transformers' sine-cosine table (S3), and PyTorch's bicubic interpolation of learned ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate
from transformers import Aimv2VisionModel as TheirVisionModel

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.network.positions import interpolate_positions, sincos_positions
from tests.support.comparison import relative_error
from tests.support.oracle import counted, their_config, their_model
from tests.support.tally import compared

sides = st.integers(1, 9)


@settings(max_examples=40)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), quarter=st.integers(1, 16))
@counted
def test_native_positions_of_any_grid(rows: int, columns: int, quarter: int) -> None:
    """S3. The table that their model adds, seen from outside: embeddings of a picture whose patches embed to zero."""
    size = 4 * quarter
    config = Aimv2VisionConfig(
        hidden_size=size, num_attention_heads=1, intermediate_size=1, num_hidden_layers=1, image_size=1, patch_size=1,
        num_channels=1, is_native=True, use_head=False,
    )  # fmt: skip
    theirs = TheirVisionModel(their_config(config)).double()
    torch.nn.init.zeros_(theirs.embeddings.patch_embed.weight)
    torch.nn.init.zeros_(theirs.embeddings.patch_embed.bias)
    with torch.no_grad():
        expected = theirs.embeddings(torch.zeros(1, 1, rows, columns, dtype=torch.float64))[0].numpy()
    # The angle is at most 40, known to 2^-53 of itself and of ω: a few ε of 40.
    error, limit = np.abs(sincos_positions(np, rows, columns, size) - expected).max(), 4 * 40 * np.finfo(np.float64).eps
    assert error <= limit
    compared("native positions", error, limit)


@settings(max_examples=40)
@given(old=st.tuples(sides, sides), new=st.tuples(sides, sides), size=st.integers(1, 5), seed=st.integers(0, 999))
@counted
def test_interpolation(old: tuple[int, int], new: tuple[int, int], size: int, seed: int) -> None:
    table = np.random.default_rng(seed).standard_normal((old[0] * old[1], size))
    cube = torch.from_numpy(table).reshape(1, *old, size).permute(0, 3, 1, 2)
    expected = interpolate(cube, size=new, mode="bicubic", align_corners=False, antialias=False)
    expected = expected.permute(0, 2, 3, 1).reshape(-1, size).numpy()
    # Sums of 16 products of numbers of order one.
    error = np.abs(interpolate_positions(table, old, new) - expected).max()
    assert error <= 1e-14
    compared("interpolated positions", error, 1e-14)


def test_learned_positions_fit_one_grid_only() -> None:
    """S4: theirs fails on another grid even when told to interpolate; ours says what to do, and does it on request."""
    config = Aimv2VisionConfig(
        hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=1, image_size=6, patch_size=2
    )
    model, pixels = Aimv2VisionModel(config), np.ones((1, 3, 8, 6), dtype=np.float32)
    with pytest.raises(RuntimeError, match="size of tensor"):
        their_model(model)(torch.from_numpy(pixels), interpolate_pos_encoding=True)
    with pytest.raises(ValueError, match="interpolate_pos_encoding=True"):
        model(pixels)
    assert model(pixels, interpolate_pos_encoding=True).last_hidden_state.shape == (1, 12, 8)


def test_transformers_cannot_do_rectangles() -> None:
    """S5: why the rectangular cases of the oracle replace two of its modules."""
    for change in ({"image_size": [6, 4]}, {"patch_size": [2, 1]}):
        config = their_config(Aimv2VisionConfig(image_size=6, patch_size=2))
        vars(config).update(change)
        with pytest.raises(TypeError):
            TheirVisionModel(config)


def test_timm_stretches_positions_by_another_cubic() -> None:
    """timm resamples its table with `antialias=True`: there PyTorch's cubic is another one, a = -1/2 and not -3/4."""
    table = np.random.default_rng(0).standard_normal((8 * 8, 4))
    cube = torch.from_numpy(table).reshape(1, 8, 8, 4).permute(0, 3, 1, 2)
    for side in (12, 4):
        theirs = interpolate(cube, size=(side, side), mode="bicubic", align_corners=False, antialias=True)
        ours = interpolate_positions(table, (8, 8), (side, side))
        assert relative_error(ours, theirs.permute(0, 2, 3, 1).reshape(-1, 4).numpy()) > 0.1


def test_positions_in_float32_as_apple_computes_them() -> None:
    """Theirs and ours are float64, rounded at the end; angles of 60 in float32 are known to 60 ε only."""
    rows = columns = 64
    wide = sincos_positions(np, rows, columns, 64)
    omega = (1 / 10000 ** (np.arange(16, dtype=np.float32) / np.float32(16))).astype(np.float32)
    angles = np.arange(columns, dtype=np.float32)[:, None] * omega
    narrow = np.sin(angles)  # of the first row of patches, as float32 gives it
    error = np.abs(wide[:columns, :16] - narrow).max()
    assert np.finfo(np.float32).eps < error < 64 * np.finfo(np.float32).eps
