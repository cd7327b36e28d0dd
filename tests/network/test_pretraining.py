import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.pretraining import mean_of, pixel_loss, pixel_targets, text_loss
from aimv2_np.network.view import Prefix
from tests.support.models import pixels, pretraining_model

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 40, (2, 5))
KEYS = np.arange(5) < np.array([[5], [3]])


SEEDS = st.integers(0, 9)


@given(
    rows=st.integers(1, 3), columns=st.integers(1, 3), ph=st.integers(1, 3), pw=st.integers(2, 3), seed=SEEDS
)  # fmt: skip
def test_targets_are_patches_normalised_one_by_one(rows, columns, ph, pw, seed):
    """The patch in row r and column c is the r·columns + c-th, its numbers run by row, column, channel."""
    x = np.random.default_rng(seed).normal(3, 2, (2, 3, rows * ph, columns * pw + 1))  # a column is left over
    found = pixel_targets(x, ph, pw)
    assert found.shape == (2, rows * columns, 3 * ph * pw)
    for b, r, c in np.ndindex(2, rows, columns):
        patch = x[b, :, r * ph : (r + 1) * ph, c * pw : (c + 1) * pw].transpose(1, 2, 0).ravel()
        expected = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
        np.testing.assert_allclose(found[b, r * columns + c], expected, atol=1e-12)


def test_a_plain_patch_has_the_target_zero():
    assert not pixel_targets(np.full((1, 3, 4, 4), 0.5, np.float32), 2, 2).any()


def test_half_precision_is_normalised_in_float32():
    x = pixels().astype(np.float16)
    found = pixel_targets(x, 4, 4)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pixel_targets(x.astype(np.float32), 4, 4))


def test_the_pixels_loss_is_the_mean_over_all_patches_of_the_batch_beyond_the_prefix():
    """Not the mean of each picture's mean: a picture with a long prefix has less to say."""
    targets, predicted = RNG.standard_normal((2, 9, 6)), RNG.standard_normal((2, 8, 6))
    errors = [
        ((predicted[b, i] - targets[b, i + 1]) ** 2).mean()
        for b, prefix in enumerate((2, 7)) for i in range(8) if i + 1 >= prefix
    ]  # fmt: skip
    assert len(errors) == 7 + 2
    np.testing.assert_allclose(pixel_loss(predicted, targets, np.array([2, 7])), np.mean(errors), rtol=1e-14)


def test_what_is_said_of_the_prefix_counts_for_nothing():
    targets, predicted = RNG.standard_normal((1, 9, 6)), RNG.standard_normal((1, 8, 6))
    changed = predicted.copy()
    changed[:, :3] = 1e3  # of patches 1, 2 and 3
    losses = [float(pixel_loss(it, targets, np.array([4]))) for it in (predicted, changed)]
    assert losses[0] == losses[1]
    assert float(pixel_loss(changed, targets, np.array([3]))) > 1e4


def test_padding_counts_for_nothing_in_the_texts_loss():
    logits = RNG.standard_normal((2, 5, 40))
    changed = logits.copy()
    changed[1, 3:] = -logits[1, 3:]
    assert float(text_loss(logits, IDS, KEYS)) == float(text_loss(changed, IDS, KEYS))
    by_hand = [np.log(np.exp(row).sum()) - row[i] for row, i in zip(logits[KEYS], IDS[KEYS], strict=True)]
    np.testing.assert_allclose(text_loss(logits, IDS, KEYS), np.mean(by_hand), rtol=1e-14)


def test_a_mean_keeps_its_dtype():
    assert mean_of(np.ones(3, np.float32), np.array([True, False, True])).dtype == np.float32


def test_the_sum_has_its_weights():
    model = pretraining_model(text_weight=0.7, pixel_weight=0.3)
    found = model(pixels(), IDS, KEYS, np.array([1, 5]))
    assert found.loss.dtype == np.float32
    np.testing.assert_allclose(found.loss, 0.7 * found.text + 0.3 * found.pixels, rtol=1e-6)


@pytest.mark.parametrize("prefix", [1, 4, 8])
def test_the_encoder_sees_the_prefix_from_both_sides_and_nothing_later(prefix):
    """The losses know no more of the picture than what they are to predict."""
    model, x = pretraining_model(), pixels(1)
    changed = x.copy()
    changed[:, :, 8:, 8:] += 1  # patch 8, the last, which is in no prefix
    view = Prefix(np.array([prefix]))
    features = [model.vision_model(it, view).last_hidden_state[0] for it in (x, changed)]
    assert [np.allclose(a, b, atol=1e-6) for a, b in zip(*features, strict=True)] == [True] * 8 + [False]


def test_without_a_prefix_all_see_all():
    model, x = pretraining_model(), pixels(1)
    tokens, keys = IDS[:1], KEYS[:1]
    alone = model(x, tokens, keys, None)
    assert float(alone.text) != float(model(x, tokens, keys, np.array([4])).text)
    assert np.isfinite(alone.pixels)
