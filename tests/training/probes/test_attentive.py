"""Attentive probes: trained together as each alone, in parts as at once, and what they refuse."""

import numpy as np
import pytest

from aimv2_np.network.probe import batch_norm
from aimv2_np.training import Schedule
from aimv2_np.training.probes import attentive
from aimv2_np.training.probes.attentive import (
    DECAYS,
    EPS,
    RATES,
    Examples,
    first_probe,
    moments,
    train_attentive_probe,
    train_together,
    trained,
)
from tests.support.probes import CLASSES, tokens

SMALL = {"rates": (1e-3, 1e-2), "decays": (0.05,), "epochs": 12, "heads": 2}


def begun(count=24, batch_size=10, seed=0):
    x, labels = tokens(count)
    own = np.array([CLASSES.index(label) for label in labels])
    rows = np.arange(count)
    return first_probe(8, 3, 2, seed, *moments(x, rows, 8)), Examples(x, own, rows, batch_size, seed)


def test_together_is_as_each_alone():
    first, examples = begun()
    schedules = [Schedule(6, rate, 1) for rate in (1e-3, 5e-3)]
    together = train_together(first, schedules, [0.05, 0.1], examples)
    for i, decay in enumerate((0.05, 0.1)):
        (alone,) = train_together(first, schedules[i : i + 1], [decay], examples)
        for path, array in alone.state_dict().items():
            np.testing.assert_allclose(together[i].state_dict()[path], array, rtol=1e-4, atol=1e-5, err_msg=path)
            assert trained(path) != np.array_equal(array, first.state_dict()[path]), path
    assert not np.allclose(together[0].k.weight, together[1].k.weight, atol=1e-4)


def test_a_batch_is_normalised_by_its_own_tokens():
    _, examples = begun()
    x, keys, own = examples.part(*examples.parts(1))
    assert keys is None
    assert len(own) == 10
    np.testing.assert_allclose(x.mean(axis=(0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(x.var(axis=(0, 1)), 1, rtol=1e-4)


def test_of_tokens_of_different_numbers_only_those_that_are_there_count():
    x, labels = tokens(8)
    ragged = [x[row, : 2 + row % 3] for row in range(8)]
    examples = Examples(ragged, np.array([CLASSES.index(it) for it in labels]), np.arange(8), 8, 0)
    found, keys, _ = examples.part(*examples.parts(0))
    np.testing.assert_allclose(found[keys].mean(axis=0), 0, atol=1e-6)
    assert keys.sum() == sum(map(len, ragged))
    fit = train_attentive_probe(ragged * 3, labels * 3, **SMALL | {"epochs": 2})
    assert np.isfinite(fit.tried[0].loss)


def test_each_picture_is_seen_once_an_epoch_in_parts_that_are_bounded(monkeypatch):
    _, examples = begun(24, 12)
    monkeypatch.setattr(attentive, "NUMBERS", 5 * 8 * 4)  # four pictures
    parts = [part for step in range(2) for part in examples.parts(step)]
    assert [len(rows) for rows in parts] == [3] * 8  # three parts would do: an even number, for cores
    assert sorted(np.concatenate(parts)) == list(range(24))


def test_it_finds_the_token_that_says_the_class():
    x, labels = tokens(150)
    test, actual = tokens(90, seed=9)
    told = []
    fit = train_attentive_probe(
        x, labels, rates=(3e-3, 1e-2), epochs=30, heads=2, progress=lambda done, total: told.append((done, total))
    )
    right = [fit.classes[i] == name for i, name in zip(fit.network(test).argmax(1), actual, strict=True)]
    assert np.mean(right) > 0.85
    assert [it.settings for it in fit.tried] == [{"rate": r, "decay": d} for r in (3e-3, 1e-2) for d in DECAYS]
    assert fit.chosen == min(range(4), key=lambda i: fit.tried[i].loss)
    assert told == [(i + 1, 225) for i in range(225)]  # 30 epochs of 120 pictures, 16 in a step


def test_the_probe_that_is_kept_is_the_one_that_did_best(monkeypatch):
    """In groups of one setting as in one group."""
    x, labels = tokens(60)
    fit = train_attentive_probe(x, labels, **SMALL)
    monkeypatch.setattr(attentive, "GROUP", 1)
    alone = train_attentive_probe(x, labels, **SMALL)
    assert alone.chosen == fit.chosen
    np.testing.assert_allclose(alone.network(x), fit.network(x), rtol=1e-3, atol=1e-4)


def test_the_same_seed_gives_the_same_bits():
    x, labels = tokens(30)
    first, again, other = (train_attentive_probe(x, labels, seed=seed, **SMALL) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.network.v.weight, again.network.v.weight)
    assert not np.array_equal(first.network.v.weight, other.network.v.weight)


def test_the_grid_is_the_papers():
    assert RATES == (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3)
    assert DECAYS == (0.05, 0.1)


def test_the_mean_and_variance_are_those_of_all_tokens_it_is_trained_on():
    x, _ = tokens(20)
    rows = np.array([1, 4, 7])
    mean, variance = moments(x + 100, rows, 8)
    np.testing.assert_allclose(mean, (x[rows] + 100).mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(variance, x[rows].var(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(batch_norm(x[rows] + 100, mean, variance, EPS).mean(axis=(0, 1)), 0, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda x: x[:, 0], {}, r"of shape \(8,\); expected \(tokens, D\)"),
        (lambda x: [*x[:-1], x[-1][:, :5]], {}, r"picture 29 are of shape \(5, 5\)"),
        (lambda x: np.where(np.arange(30)[:, None, None] == 11, np.nan, x), {}, "picture 11 hold NaN"),
        (lambda x: x, {"heads": 3}, "heads is 3; expected a divisor of 8"),
        (lambda x: x, {"epochs": 0}, "epochs"),
        (lambda x: x, {"batch_size": 0}, "batch_size"),
        (lambda x: x[:3], {}, "classes for 3 pictures"),
    ],
)
def test_what_cannot_be_trained_on(change, options, said):
    x, labels = tokens(30)
    with pytest.raises(ValueError, match=said):
        train_attentive_probe(change(x), labels, **options)
