import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.training.optimizer import AdamW, clip, decays, gradient_norm
from tests.support.models import both_model, pretraining_model


def adamw(settings, gradients, rate=0.1, peak=0.1, start=1.0, path="w.weight"):
    """Of one number."""
    weights, first, second = ({path: np.array(it)} for it in (start, 0.0, 0.0))
    for step, gradient in enumerate(gradients, 1):
        settings.update(weights, {path: np.array(gradient)}, first, second, step, rate, peak)
    return float(weights[path])


@given(st.floats(1e-3, 1e3), st.booleans())
def test_the_first_step_is_the_rate_whatever_the_gradient_is(size, negative):
    """m and v are then the gradient and its square."""
    moved = adamw(AdamW(weight_decay=0.0), [-size if negative else size]) - 1
    assert moved == pytest.approx(0.1 if negative else -0.1, rel=1e-5)


def test_by_hand():
    """Two steps of algorithm 2."""
    b1, b2, eps, decay, rate = 0.9, 0.95, 1e-8, 0.02, 0.1
    p = m = v = 0.0
    p = 1.0
    for t, g in enumerate((2.0, -1.0), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = p * (1 - decay * rate) - rate * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps)
    assert adamw(AdamW(weight_decay=0.02, fully_decoupled=False), [2.0, -1.0]) == pytest.approx(p, rel=1e-12)


def test_fully_decoupled_the_peak_of_the_rate_does_not_change_how_much_is_forgotten():
    """At its peak all of λ; at half of it half."""
    settings = AdamW(weight_decay=0.02)
    for peak in (1e-3, 1.0):
        assert adamw(settings, [0.0], rate=peak, peak=peak) == pytest.approx(0.98)
        assert adamw(settings, [0.0], rate=peak / 2, peak=peak) == pytest.approx(0.99)


def test_what_does_not_shrink():
    """Biases, norms, positions, the class token and the temperature; matrices, patches and the token table do."""
    kept = {path for model in (both_model(), pretraining_model()) for path in model.state_dict() if not decays(path)}
    assert {path for path in kept if "norm" not in path and "position" not in path and "bias" not in path} == {
        "logit_scale", "vision_model.head.cls_token",
    }  # fmt: skip
    assert decays("decoder.embeddings.start_token")
    assert decays("vision_model.embeddings.patch_embed.weight")
    assert decays("text_model.embeddings.token_embedding.weight")
    assert not decays("vision_model.embeddings.position_embedding.weight")
    assert not decays("vision_model.embeddings.patch_embed.bias")


def test_a_long_gradient_is_scaled_down_and_a_short_one_is_not():
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    norm = gradient_norm(gradients.values())
    assert norm == 5.0
    shorter = clip(gradients, norm, 1.0)
    assert gradient_norm(shorter.values()) == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(shorter["a"] / gradients["a"][0], [0.2, 0.0], rtol=1e-5)
    assert clip(gradients, norm, 6.0) == gradients


def test_clipping_keeps_float32():
    assert clip({"a": np.ones(2, np.float32)}, 1.4, 0.1)["a"].dtype == np.float32


@pytest.mark.parametrize(
    "setting",
    [{"weight_decay": float("nan")}, {"weight_decay": -1}, {"betas": (0.9, 1.0)}, {"betas": (0.9,)}, {"eps": 0}],
    ids=str,
)
def test_settings_that_are_none(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=rf"{name} is .*; expected"):
        AdamW(**setting)
