"""Small models with weights that hide nothing, inputs for them, and comparisons with stated tolerances."""

from typing import Any

import numpy as np

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextConfig, Aimv2TextModel, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.models import skeleton
from aimv2_np.models.pretrained import initial
from aimv2_np.network.pretraining import Pretraining

VISION = {
    "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 12,
    "patch_size": 4,
}  # fmt: skip
TEXT = {
    "hidden_size": 12, "intermediate_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 40,
    "max_position_embeddings": 9, "eos_token_id": 39,
}  # fmt: skip


def vision_config(**changes: Any) -> Aimv2VisionConfig:
    """A vision tower of 16 numbers a token and a 3 × 3 grid."""
    return Aimv2VisionConfig(**{**VISION, **changes})


def text_config(**changes: Any) -> Aimv2TextConfig:
    """A text tower of 12 numbers a token, 40 words and 9 positions."""
    return Aimv2TextConfig(**{**TEXT, **changes})


def both_config(**changes: Any) -> Aimv2Config:
    """The two towers above, projected to 10 numbers."""
    return Aimv2Config(**{
        "vision_config": vision_config(), "text_config": text_config(), "projection_dim": 10, **changes
    })  # fmt: skip


def randomized(model: Any, seed: int = 0) -> Any:
    """`model` with every array drawn anew, gains and biases too: a forgotten gain or bias then changes the result.

    Matrices are scaled by 1/√(inputs), so that neither signals nor attention scores vanish or explode.
    """

    def draw(path: str, array: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([seed, *path.encode()])
        values = rng.standard_normal(array.shape)
        if path.endswith("logit_scale"):
            values = np.asarray(1.5)
        elif "norm" in path:
            values = 1 + 0.3 * values
        elif array.ndim > 1 and "embedding" not in path and "cls_token" not in path:
            values = values / np.sqrt(np.prod(array.shape[1:]))
        return values.astype(array.dtype)

    return model.map(draw)


def vision_model(seed: int = 0, **changes: Any) -> Aimv2VisionModel:
    """A randomized small vision tower."""
    return randomized(Aimv2VisionModel(vision_config(**changes)), seed)


def text_model(seed: int = 0, **changes: Any) -> Aimv2TextModel:
    """A randomized small text tower."""
    return randomized(Aimv2TextModel(text_config(**changes)), seed)


def both_model(seed: int = 0, **changes: Any) -> Aimv2Model:
    """A randomized small two-tower model."""
    return randomized(Aimv2Model(both_config(**changes)), seed)


def pretraining_model(
    seed: int = 0, text_weight: float = 1.0, pixel_weight: float = 0.4, **changes: Any
) -> Pretraining:
    """A randomized small vision tower with a decoder of 12 numbers a token."""
    tree = skeleton.pretraining(vision_config(**changes), text_config(), text_weight, pixel_weight)
    return randomized(tree.map(lambda path, parameter: initial(path, parameter, 0)), seed)


def pixels(batch: int = 2, height: int = 12, width: int = 12, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Normalised float32 pixels."""
    return np.random.default_rng(seed).standard_normal((batch, channels, height, width), dtype=np.float32)


def tokens(batch: int = 2, length: int = 6, seed: int = 0) -> np.ndarray:
    """Token ids of the small vocabulary; the last of each row, and no other, is the end-of-text token."""
    ids = np.random.default_rng(seed).integers(0, TEXT["vocab_size"] - 1, (batch, length))
    ids[:, -1:] = TEXT["eos_token_id"]
    return ids


def assert_close(actual: Any, expected: Any, ulps: float) -> None:
    """Same shape, and no element off by more than `ulps` ε of `actual`'s dtype, in units of the largest element."""
    actual, expected = np.asarray(actual), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape
    assert actual.dtype.kind == "f"
    assert np.isfinite(actual).all()
    if expected.size:
        error = np.abs(actual.astype(np.float64) - expected).max()
        limit = ulps * np.finfo(actual.dtype).eps * max(np.abs(expected).max(), 1e-30)
        assert error <= limit, f"off by {error:.3g}, limit {limit:.3g}"
