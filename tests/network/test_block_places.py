"""What computes a block at once has to know all of its parts; where one is new, the failing test names the places."""

from dataclasses import fields

import numpy as np
import pytest

from aimv2_np import Aimv2TextConfig, Aimv2VisionConfig, textbook
from aimv2_np.kernels.native.library import available, using
from aimv2_np.network.attention import Attention
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from tests.support.models import pixels, text_model, tokens, vision_model

AT_ONCE = "aimv2_np/kernels/ends.py, aimv2_np/kernels/native/structures.py and aimv2_np/kernels/cuda/encoder.py"
# The parts that these know.
PARTS = {
    EncoderLayer: {"rms_norm1", "attention", "rms_norm2", "ffn"},
    Attention: {"q_proj", "k_proj", "v_proj", "out_proj", "heads"},
    SwiGLU: {"gate_proj", "up_proj", "down_proj", "hidden_act"},
    RMSNorm: {"weight", "eps"},
    Linear: {"weight", "bias"},
}
TOWERS = {Aimv2VisionConfig: vision_model, Aimv2TextConfig: text_model}
CALLS = {
    Aimv2VisionConfig: [lambda model: model(pixels())[0]],
    Aimv2TextConfig: [lambda model: model(tokens())[0], lambda model: model.features(tokens())],
}
OPTIONS = [(config, each.name) for config in TOWERS for each in fields(config) if each.type in (bool, "bool")]


@pytest.mark.parametrize("kind", PARTS)
def test_what_computes_a_block_at_once_knows_its_parts(kind):
    new = {each.name for each in fields(kind)} ^ PARTS[kind]
    assert not new, (
        f"{AT_ONCE} compute a {kind.__name__} without calling it, and know nothing of {sorted(new)}: let each compute "
        "it, or leave what has it to the equation as written; then correct PARTS of this file"
    )


@pytest.mark.parametrize("kernels", [*available(), None])
@pytest.mark.parametrize(("config", "name"), OPTIONS)
def test_faster_bodies_compute_what_an_option_changes(config, name, kernels):
    """With weights that no new model has: a gain that begins at one is as good as none."""
    rng = np.random.default_rng(0)
    model = TOWERS[config](**{name: not getattr(config(), name)})
    model = model.map(lambda path, array: array * rng.uniform(0.5, 2, array.shape).astype(np.float32))
    for compute in CALLS[config]:
        with textbook():
            expected = compute(model)
        with using(kernels):
            found = compute(model)
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), (
            f"a tower whose {name} is {not getattr(config(), name)} is not what its equations give: one of {AT_ONCE} "
            "leaves something out"
        )
