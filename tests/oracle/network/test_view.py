"""The view of padded texts against the one that Transformers makes for its eager attention."""

from inspect import signature

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.masking_utils import create_causal_mask

from aimv2_np import Aimv2TextConfig
from aimv2_np.network.view import CAUSAL, Padded
from tests.support.oracle import counted, their_config
from tests.support.strategies import masks_for
from tests.support.tally import compared

CONFIG = their_config(Aimv2TextConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1))
# No cache: `past_key_values` up to Transformers 5.23, `cache` from 5.24 on.
CACHE = {name: None for name in ("past_key_values", "cache") if name in signature(create_causal_mask).parameters}

shapes = st.tuples(st.integers(1, 4), st.integers(1, 9))


@settings(max_examples=40)
@given(mask=shapes.flatmap(lambda shape: masks_for(shape, ("ones", "right", "left", "holes"))))
@counted
def test_causal_mask_with_padding(mask: np.ndarray) -> None:
    batch, tokens = mask.shape
    theirs = create_causal_mask(
        config=CONFIG,
        inputs_embeds=torch.zeros(batch, tokens, 8),
        attention_mask=torch.from_numpy(mask),
        **CACHE,
        position_ids=torch.arange(tokens)[None].expand(batch, -1),
    )
    ours = (CAUSAL & Padded(mask)).allowed(np, tokens, tokens)
    assert np.array_equal(np.broadcast_to(ours, (batch, 1, tokens, tokens)), (theirs == 0).numpy())
    compared("masks", 0.0)
