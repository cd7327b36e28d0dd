"""Every view against its definition, query by query and key by key."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Packed, Padded, Prefix

NAMES = ["everyone", "causal", "prefix", "padded", "packed", "mask"]


def make_view(names, batch, tokens, seed):
    """The views of these names, combined, and the rule (b, i, j) -> bool that says the same."""
    rng = np.random.default_rng(seed)
    keys, prefix = rng.integers(0, 2, (batch, tokens)), rng.integers(0, tokens + 1, batch)
    mask = rng.random((batch, 1, tokens, tokens)) < 0.5
    ends = np.flatnonzero(np.append(rng.random(tokens - 1) < 0.5, True)) + 1  # of sequences that fill the row
    lengths = tuple(int(n) for n in np.diff(ends, prepend=0))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    known = {
        "everyone": (EVERYONE, lambda b, i, j: True),
        "causal": (CAUSAL, lambda b, i, j: j <= i),
        "prefix": (Prefix(prefix), lambda b, i, j: j <= i or j < prefix[b]),
        "padded": (Padded(keys), lambda b, i, j: keys[b, j] != 0),
        "packed": (Packed(lengths), lambda b, i, j: owner[i] == owner[j]),
        "mask": (Mask(mask), lambda b, i, j: mask[b, 0, i, j]),
    }
    view, rules = EVERYONE, [known[name][1] for name in names]
    for name in names:
        view = view & known[name][0]
    return view, lambda b, i, j: all(rule(b, i, j) for rule in rules)


def written_out(rule, batch, tokens):
    full = np.zeros((batch, 1, tokens, tokens), bool)
    for b, _, i, j in np.ndindex(full.shape):
        full[b, 0, i, j] = rule(b, i, j)
    return full


@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), batch=st.integers(1, 3),
       tokens=st.integers(1, 6), seed=st.integers(0, 999), data=st.data())  # fmt: skip
def test_equals_the_definition(names, batch, tokens, seed, data):
    view, rule = make_view(names, batch, tokens, seed)
    allowed, expected = view.allowed(np, tokens, tokens), written_out(rule, batch, tokens)
    np.testing.assert_array_equal(True if allowed is None else np.broadcast_to(allowed, expected.shape), expected)
    start = data.draw(st.integers(0, batch - 1))
    rows = slice(start, data.draw(st.integers(start + 1, batch)))
    some = view.of(rows).allowed(np, tokens, tokens)
    np.testing.assert_array_equal(True if some is None else np.broadcast_to(some, expected[rows].shape), expected[rows])


def test_everyone_needs_no_array():
    assert EVERYONE.allowed(np, 4, 4) is None
    assert EVERYONE & EVERYONE is EVERYONE
    assert EVERYONE & CAUSAL is CAUSAL is CAUSAL & EVERYONE


def test_one_query_for_each_sequence():
    """It sees all tokens of its own sequence that are no padding, whatever these see of each other."""
    keys = np.array([[1, 0, 1]])
    for view in (EVERYONE, CAUSAL, Prefix(np.array([1]))):
        assert view.pooled().allowed(np, 1, 3) is None
        np.testing.assert_array_equal((view & Padded(keys)).pooled().allowed(np, 1, 3), [[[[True, False, True]]]])
    packed = Packed((2, 1))
    assert packed.sequences == 2
    np.testing.assert_array_equal(packed.pooled().allowed(np, 2, 3), [[[[1, 1, 0], [0, 0, 1]]]])
    assert packed.pooled().slices() == [(slice(0, 1), slice(0, 2)), (slice(1, 2), slice(2, 3))]


def test_padding_is_found_wherever_it_stands():
    keys = np.array([[1, 0]])
    assert CAUSAL.padding is None
    assert all(view.padding is keys for view in (Padded(keys), CAUSAL & Padded(keys), Padded(keys) & CAUSAL))


def test_padding_of_two_views_is_that_of_both():
    both = Padded(np.array([[1, 0, 1]])) & Padded(np.array([[1, 1, 0]]))
    np.testing.assert_array_equal(both.padding, [[True, False, False]])
