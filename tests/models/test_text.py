import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import textbook, trace
from tests.support import reference
from tests.support.models import assert_close, text_model, tokens


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("changes", [
    {}, {"qkv_bias": True, "mlp_bias": True}, {"num_attention_heads": 1}, {"num_hidden_layers": 1, "rms_norm_eps": 0.1},
])  # fmt: skip
def test_equals_the_network_written_out_again(changes, masked, causal):
    model = text_model(**changes)
    ids = tokens(3)
    mask = np.array([[1] * 6, [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]]) if masked else None
    valid = np.ones(ids.shape, bool) if mask is None else mask == 1
    ids[1, 2] = ids[2, 4] = 39  # ends where the padding begins
    states, last, pooled = reference.text(model.state_dict(), model.config, ids, mask, causal)
    wide = model.to(dtype="float64")(ids, mask, causal=causal, output_hidden_states=True)
    for got, wanted in zip(wide.hidden_states, states, strict=True):
        np.testing.assert_allclose(got[valid], wanted[valid], atol=1e-12)
    np.testing.assert_allclose(wide.last_hidden_state[valid], last[valid], atol=1e-12)
    np.testing.assert_allclose(wide.pooler_output, pooled, atol=1e-12)
    narrow = model(ids, mask, causal=causal)
    assert_close(narrow.last_hidden_state[valid], last[valid], ulps=100)
    assert_close(narrow.pooler_output, pooled, ulps=100)


@pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")
@settings(max_examples=20)
@given(length=st.integers(2, 9), seed=st.integers(0, 99), data=st.data())
def test_a_token_does_not_see_later_ones(length, seed, data):
    model = text_model()
    ids = tokens(2, length, seed)
    t = data.draw(st.integers(1, length - 1))
    changed = ids.copy()
    changed[:, t:] = (changed[:, t:] + 1 + np.arange(length - t)) % 39
    before, after = model(ids).last_hidden_state, model(changed).last_hidden_state
    np.testing.assert_array_equal(before[:, :t], after[:, :t])
    assert np.abs(before[:, t] - after[:, t]).max() > 1e-3
    alone = model(ids[:, :t]).last_hidden_state
    np.testing.assert_allclose(alone, before[:, :t], atol=1e-5)  # another shape, another order of sums


def test_causal_is_the_default_with_and_without_a_mask():
    model, ids = text_model(), tokens()
    default = model(ids).last_hidden_state
    np.testing.assert_array_equal(model(ids, causal=True).last_hidden_state, default)
    np.testing.assert_allclose(model(ids, np.ones_like(ids)).last_hidden_state, default, atol=1e-6)
    free = model(ids, causal=False).last_hidden_state
    assert np.abs(free[:, 0] - default[:, 0]).max() > 1e-2
    assert np.abs(free - model(ids, np.ones_like(ids), causal=False).last_hidden_state).max() < 1e-6


@pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")
@pytest.mark.parametrize("causal", [True, False])
@settings(max_examples=20)
@given(data=st.data(), length=st.integers(2, 9))
def test_padding_never_influences_tokens(data, length, causal):
    """Wherever it stands: at the end, at the front, or between."""
    model, ids = text_model(), tokens(2, length)
    row = st.lists(st.integers(0, 1), min_size=length, max_size=length)
    mask = np.array(data.draw(st.lists(row, min_size=2, max_size=2)))
    other = np.where(mask == 1, ids, (ids + 7) % 39)
    before, after = (model(x, mask, causal=causal).last_hidden_state for x in (ids, other))
    assert np.isfinite(before).all()
    valid = mask == 1
    np.testing.assert_array_equal(before[valid], after[valid])


@pytest.mark.parametrize("as_written", [True, False])
def test_rows_of_nothing_but_padding_are_finite(as_written):
    model, ids = text_model(), tokens(3)
    mask = np.array([[0, 0, 0, 1, 1, 1], [0] * 6, [1] * 6])
    if as_written:
        with textbook():
            output = model(ids, mask)
    else:
        output = model(ids, mask)
    assert np.isfinite(output.last_hidden_state).all()
    np.testing.assert_allclose(output.last_hidden_state[2], model(ids[2:]).last_hidden_state[0], atol=1e-5)


def test_padding_on_the_right_changes_nothing():
    model, ids = text_model(), tokens(2, 5)
    longer = np.concatenate([ids, np.full((2, 4), 7)], axis=1)
    mask = np.array([[1] * 5 + [0] * 4] * 2)
    short, padded = model(ids), model(longer, mask)
    np.testing.assert_allclose(padded.last_hidden_state[:, :5], short.last_hidden_state, atol=1e-5)
    np.testing.assert_allclose(padded.pooler_output, short.pooler_output, atol=1e-5)


@pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")
def test_pools_at_the_first_end_of_text():
    model = text_model()
    ids = np.array([[1, 39, 2, 39], [39, 1, 2, 3], [1, 2, 3, 39], [1, 2, 3, 4]])
    output = model(ids)
    for row, end in enumerate([1, 0, 3, 0]):  # without an end, position 0
        np.testing.assert_array_equal(output.pooler_output[row], output.last_hidden_state[row, end])


def test_another_end_of_text_token():
    model = text_model(eos_token_id=5)
    output = model(np.array([[39, 5, 1]]))
    np.testing.assert_array_equal(output.pooler_output[0], output.last_hidden_state[0, 1])


def test_attentions_are_causal_and_skip_padding():
    mask = np.array([[1] * 6, [1, 1, 1, 0, 0, 0]])
    output = text_model()(tokens(), mask, output_attentions=True)
    assert len(output.attentions) == 2
    for probs in output.attentions:
        assert probs.shape == (2, 3, 6, 6)
        np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)
        np.testing.assert_array_equal(np.triu(probs, 1), 0)
        np.testing.assert_array_equal(probs[1, :, :, 3:], 0)


def test_hidden_states_and_tuple():
    model, ids = text_model(), tokens()
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    np.testing.assert_array_equal(model.rms_norm(output.hidden_states[-1]), output.last_hidden_state)
    table, positions = model.embeddings.token_embedding.weight, model.embeddings.position_embedding.weight
    np.testing.assert_array_equal(output.hidden_states[0], table[ids] + positions[:6])
    plain = model(ids, return_dict=False)
    assert isinstance(plain, tuple)
    assert len(plain) == 2
    assert_close(plain[1], output.pooler_output, ulps=50)


@pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")
def test_features_are_what_the_tower_pools():
    """Of texts that end anywhere, are padded on either side or both, or never end, alone or with others."""
    model, rng = text_model(max_position_embeddings=30), np.random.default_rng(0)
    ids = rng.integers(0, 39, (12, 30))
    mask = np.ones_like(ids)
    for row, end in enumerate([0, 1, 7, 8, 9, 15, 16, 29, 28, 3]):
        ids[row, end:] = 39
        mask[row, end + 1 :] = 0
    ids[9, :2], mask[9, :2] = 39, 0
    for padding in (None, mask):
        for causal in (True, False):
            expected = model(ids, padding, causal=causal).pooler_output
            assert_close(model.features(ids, padding, causal=causal), expected, ulps=50)
            for row in range(12):
                one = model.features(
                    ids[row : row + 1], None if padding is None else padding[row : row + 1], causal=causal
                )
                assert_close(one[0], expected[row], ulps=50)


def test_features_do_not_compute_what_cannot_change_them():
    seen = []
    model = text_model(max_position_embeddings=30)
    forward = type(model.embeddings).forward
    ids = np.full((5, 30), 39)
    ids[0, :2], ids[1, :7], ids[2, :20], ids[3, :6] = 1, 2, 3, 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.embeddings), "forward", lambda self, ids: seen.append(ids.shape) or forward(self, ids))
        model.features(ids)
    assert seen == [(4, 8), (1, 24)]


@pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token")
def test_features_are_traced_as_the_tower_is():
    model, ids = text_model(), np.array([[1, 2, 39, 39, 39, 39, 39, 39, 39], [1] * 9])
    with trace(model) as activations:
        model.features(ids)
    assert activations["embeddings"].shape == (2, 9, 12)


@pytest.mark.parametrize("length", [1, 9])
def test_shortest_and_longest(length):
    output = text_model()(tokens(2, length))
    assert output.last_hidden_state.shape == (2, length, 12)


def test_texts_of_a_batch_are_independent():
    model, ids = text_model(), tokens(4)
    whole = model(ids).last_hidden_state
    for i in range(4):
        assert_close(model(ids[i : i + 1]).last_hidden_state[0], whole[i], ulps=50)


def test_an_empty_batch():
    output = text_model()(np.zeros((0, 4), int), np.zeros((0, 4), int))
    assert output.last_hidden_state.shape == (0, 4, 12)
    assert output.pooler_output.shape == (0, 12)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64", ">i4"])
def test_any_integers(dtype):
    model = text_model()
    expected = model(tokens()).last_hidden_state
    np.testing.assert_array_equal(model(tokens().astype(dtype)).last_hidden_state, expected)


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint8", "float32", "float64"])
def test_any_mask_of_zeros_and_ones(dtype):
    model = text_model()
    mask = np.array([[1] * 6, [1, 1, 1, 0, 0, 0]])
    expected = model(tokens(), mask).pooler_output
    np.testing.assert_array_equal(model(tokens(), mask.astype(dtype)).pooler_output, expected)
    np.testing.assert_array_equal(model(tokens().tolist(), mask.astype(dtype).tolist()).pooler_output, expected)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype):
    model = text_model().to(dtype=dtype)
    _, last, pooled = reference.text(model.state_dict(), model.config, tokens())
    output = model(tokens())
    assert output.pooler_output.dtype == dtype
    assert_close(output.last_hidden_state, last, ulps=100)
    assert_close(output.pooler_output, pooled, ulps=100)


def test_damaged_weights_are_reported_by_name():
    for path in ("encoder.layers.0.attention.out_proj.weight", "rms_norm.weight"):
        model = text_model()
        model.state_dict()[path].reshape(-1)[0] = np.nan
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=rf"weight {path} holds NaN"):
            model(tokens())
