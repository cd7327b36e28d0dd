"""New models start from the distributions that Transformers draws from (S10), with two stated differences."""

from math import log, sqrt

import numpy as np
import pytest
import torch

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextConfig, Aimv2VisionConfig
from tests.support.oracle import THEIRS, their_config

CONFIG = Aimv2Config(
    vision_config=Aimv2VisionConfig(
        hidden_size=64, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8,
        qkv_bias=True, mlp_bias=True, initializer_range=0.05,
    ),
    text_config=Aimv2TextConfig(
        hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=200,
        max_position_embeddings=20, eos_token_id=199, initializer_range=0.01,
    ),
    projection_dim=40,
    logit_scale_init_value=1.25,
)  # fmt: skip


@pytest.fixture(scope="module")
def states() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """New weights by path: ours, theirs."""
    torch.manual_seed(0)
    theirs = THEIRS[Aimv2Config][1](their_config(CONFIG))
    return Aimv2Model(CONFIG, seed=3).state_dict(), {k: v.numpy() for k, v in theirs.state_dict().items()}


def same_spread(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the means and standard deviations of two samples agree to 6 standard errors (σ/√n and σ/√(2n))."""
    spread = max(a.std(), b.std())
    error = 6 * spread * sqrt(2 / a.size)
    return abs(float(a.mean() - b.mean())) <= error and abs(float(a.std() - b.std())) <= error / sqrt(2)


def test_every_array_starts_as_in_transformers(states: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    ours, theirs = states
    assert sorted(ours) == sorted(theirs)
    different = {path for path, array in ours.items() if not same_spread(array, theirs[path])}
    assert different == {"logit_scale", "visual_projection.weight", "text_projection.weight"}


def test_matrices_are_normal(states: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    """Not only their spread: quantiles of ours and theirs agree with the normal distribution's."""
    fractions, quantiles = [0.02275, 0.15866, 0.84134, 0.97725], [-2, -1, 1, 2]
    for state in states:
        sample = np.quantile(state["text_model.embeddings.token_embedding.weight"] / 0.01, fractions)
        # 9600 numbers: the quantile at 2σ has a standard error of 0.028.
        assert np.abs(sample - quantiles).max() < 6 * 0.028


def test_the_two_differences(states: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    """There, the temperature starts at ln(1/0.07) and the projections at σ = 1 whatever the configuration says."""
    ours, theirs = states
    assert float(theirs["logit_scale"]) == pytest.approx(log(1 / 0.07))
    assert float(ours["logit_scale"]) == CONFIG.logit_scale_init_value
    for name, std in (("visual", 0.05), ("text", 0.01)):
        path = f"{name}_projection.weight"
        assert theirs[path].std() == pytest.approx(1.0, rel=0.1)
        assert ours[path].std() == pytest.approx(std, rel=0.1)
