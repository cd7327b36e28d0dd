import numpy as np
import pytest

from aimv2_np import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.models import skeleton
from aimv2_np.training.initial import initialized

VISION = Aimv2VisionConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14
)
TEXT = Aimv2TextConfig(
    hidden_size=96, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, vocab_size=600, eos_token_id=1
)
WEIGHTS = initialized(skeleton.pretraining(VISION, TEXT)).state_dict()
LAYER = "decoder.layers.0."


@pytest.mark.parametrize(
    ("path", "bound"),
    [
        ("vision_model.embeddings.patch_embed.weight", (6 / (3 * 14 * 14 + 64)) ** 0.5),
        (f"{LAYER}ffn.down_proj.weight", (6 / (128 + 96)) ** 0.5),
        (f"{LAYER}attention.q_proj.weight", (6 / (96 + 96)) ** 0.5),
        ("decoder.connector.weight", (6 / (64 + 96)) ** 0.5),
    ],
)
def test_matrices_are_uniform(path, bound):
    """By the number of what goes in and what comes out; patches as one matrix."""
    numbers = WEIGHTS[path]
    assert np.abs(numbers).max() <= bound * (1 + 1e-6)
    assert np.abs(numbers).max() > 0.99 * bound
    assert numbers.std() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("path", ["decoder.pixel_head.weight", "decoder.text_head.weight"])
def test_what_predicts_begins_small_and_without_outliers(path):
    numbers, deviation = WEIGHTS[path], (1 / (13 * 96)) ** 0.5
    assert numbers.std() == pytest.approx(deviation, rel=0.03)
    assert np.abs(numbers).max() <= deviation * 2 / 0.7737413035**0.5 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("path", "deviation"),
    [
        ("vision_model.embeddings.position_embedding.weight", 0.02),
        ("decoder.embeddings.position_embedding.weight", 0.01),
        ("decoder.embeddings.token_embedding.weight", 0.02),
        ("decoder.embeddings.start_token", 0.02),
    ],
)
def test_tables_are_normal(path, deviation):
    numbers = WEIGHTS[path]
    assert numbers.std() == pytest.approx(deviation, rel=4 / numbers.size**0.5)


def test_gains_are_one_and_biases_zero():
    for path, numbers in WEIGHTS.items():
        if "norm" in path:
            assert (numbers == 1).all(), path
        elif path.endswith("bias"):
            assert not numbers.any(), path


def test_the_seed_and_the_path_decide():
    again, other = (initialized(skeleton.pretraining(VISION, TEXT), seed).state_dict() for seed in (0, 1))
    for path, numbers in WEIGHTS.items():
        np.testing.assert_array_equal(numbers, again[path])
        assert numbers.dtype == np.float32
    for path in ("decoder.connector.weight", f"{LAYER}ffn.up_proj.weight"):
        assert not np.array_equal(WEIGHTS[path], other[path])
    assert not np.array_equal(WEIGHTS[f"{LAYER}ffn.up_proj.weight"], WEIGHTS[f"{LAYER}ffn.gate_proj.weight"])
