import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import Aimv2VisionModel
from aimv2_np.network.positions import interpolate_positions
from tests.support import reference
from tests.support.models import assert_close, pixels, randomized, vision_config, vision_model

CONFIGS = [
    {}, {"qkv_bias": True, "mlp_bias": True}, {"use_head": False}, {"is_native": True}, {"num_attention_heads": 1},
    {"num_attention_heads": 16}, {"image_size": (8, 12)}, {"patch_size": (6, 3)}, {"num_channels": 1},
    {"image_size": 13, "patch_size": (3, 5)}, {"num_hidden_layers": 1, "rms_norm_eps": 0.1},
    {"num_channels": 5, "qkv_bias": True},
]  # fmt: skip


def picture(config, batch=2, seed=0):
    return pixels(batch, *config.image_shape, seed=seed, channels=config.num_channels)


@pytest.mark.parametrize("changes", CONFIGS)
def test_equals_the_network_written_out_again(changes):
    model = vision_model(**changes)
    x = picture(model.config)
    states, last, pooled = reference.vision(model.state_dict(), model.config, x)
    wide = model.to(dtype="float64")(x, output_hidden_states=True)
    for got, wanted in zip(wide.hidden_states, states, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-12)
    np.testing.assert_allclose(wide.last_hidden_state, last, atol=1e-12)
    narrow = model(x)
    # Some hundred roundings of ε in random directions, through norms that may enlarge them.
    assert_close(narrow.last_hidden_state, last, ulps=100)
    if pooled is None:
        assert narrow.pooler_output is None
    else:
        np.testing.assert_allclose(wide.pooler_output, pooled, atol=1e-12)
        assert_close(narrow.pooler_output, pooled, ulps=100)


@settings(max_examples=20)
@given(height=st.integers(4, 20), width=st.integers(4, 20))
def test_native_takes_any_grid(height, width):
    model = vision_model(is_native=True, num_hidden_layers=1).to(dtype="float64")
    x = pixels(1, height, width)
    _, last, pooled = reference.vision(model.state_dict(), model.config, x)
    output = model(x)
    assert output.last_hidden_state.shape == (1, (height // 4) * (width // 4), 16)
    np.testing.assert_allclose(output.last_hidden_state, last, atol=1e-12)
    np.testing.assert_allclose(output.pooler_output, pooled, atol=1e-12)


def test_pixels_beyond_the_last_patch_are_not_seen():
    model = vision_model(image_size=14)
    x = pixels(1, 14, 15)
    before = model(x).last_hidden_state
    x[:, :, 12:], x[:, :, :, 12:] = 100, -100
    np.testing.assert_array_equal(model(x).last_hidden_state, before)


def test_hidden_states():
    """L + 1 of them: the embeddings, then each block's output, the last one before the final norm."""
    model = vision_model(num_hidden_layers=3)
    output = model(pixels(), output_hidden_states=True)
    assert len(output.hidden_states) == 4
    np.testing.assert_array_equal(output.hidden_states[0], model.embeddings(pixels()))
    np.testing.assert_array_equal(model.rms_norm(output.hidden_states[-1]), output.last_hidden_state)
    assert not np.allclose(output.hidden_states[-1], output.last_hidden_state)
    assert output.attentions is None


def test_attentions():
    model = vision_model(num_hidden_layers=3)
    output = model(pixels(), output_attentions=True)
    assert len(output.attentions) == 3
    for probs in output.attentions:
        assert probs.shape == (2, 2, 9, 9)
        np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)
    assert output.hidden_states is None
    np.testing.assert_allclose(output.last_hidden_state, model(pixels()).last_hidden_state, atol=1e-5)


def test_order_of_the_tuple():
    model = vision_model()
    whole = model(pixels(), output_hidden_states=True, output_attentions=True)
    plain = model(pixels(), output_hidden_states=True, output_attentions=True, return_dict=False)
    assert isinstance(plain, tuple)
    assert [type(part) for part in plain] == [np.ndarray, np.ndarray, tuple, tuple]
    np.testing.assert_array_equal(plain[0], whole.last_hidden_state)
    np.testing.assert_array_equal(plain[1], whole.pooler_output)
    assert [len(part) for part in plain[2:]] == [3, 2]
    headless = vision_model(use_head=False)
    assert len(headless(pixels(), return_dict=False)) == 1


def test_other_grids_need_a_word():
    model = vision_model()
    with pytest.raises(ValueError, match=r"pixel_values.*4x2.*3x3.*interpolate_pos_encoding=True"):
        model(pixels(1, 16, 8))


@pytest.mark.parametrize("shape", [(16, 8), (12, 24), (4, 4), (40, 28), (17, 11)])
def test_interpolated_positions(shape):
    model = vision_model().to(dtype="float64")
    x = pixels(1, *shape)
    output = model(x, interpolate_pos_encoding=True).last_hidden_state
    table = model.state_dict()["embeddings.position_embedding.weight"]
    stretched = interpolate_positions(table, (3, 3), (shape[0] // 4, shape[1] // 4))
    other = {**model.state_dict(), "embeddings.position_embedding.weight": stretched}
    np.testing.assert_allclose(output, reference.vision(other, model.config, x)[1], atol=1e-12)


def test_interpolation_changes_nothing_on_the_models_own_grid():
    model = vision_model()
    before = model(pixels()).last_hidden_state
    np.testing.assert_array_equal(model(pixels(), interpolate_pos_encoding=True).last_hidden_state, before)
    native = vision_model(is_native=True)
    before = native(pixels(1, 8, 20)).last_hidden_state
    np.testing.assert_array_equal(native(pixels(1, 8, 20), interpolate_pos_encoding=True).last_hidden_state, before)


def test_pictures_of_a_batch_are_independent():
    """To some ε: another batch size may make BLAS sum in another order."""
    model, x = vision_model(), pixels(5)
    whole = model(x)
    for i in range(5):
        one = model(x[i : i + 1])
        assert_close(one.last_hidden_state[0], whole.last_hidden_state[i], ulps=50)
        assert_close(one.pooler_output[0], whole.pooler_output[i], ulps=50)


def test_an_empty_batch():
    output = vision_model()(pixels(0), output_hidden_states=True, output_attentions=True)
    assert output.last_hidden_state.shape == (0, 9, 16)
    assert output.pooler_output.shape == (0, 16)
    assert output.attentions[0].shape == (0, 2, 9, 9)
    assert vision_model()(pixels(0)).last_hidden_state.shape == (0, 9, 16)


def test_lists_are_arrays():
    model = vision_model()
    np.testing.assert_array_equal(model(pixels().tolist()).last_hidden_state, model(pixels()).last_hidden_state)


def test_any_memory_layout():
    model, x = vision_model(), pixels()
    expected = model(x).last_hidden_state
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    fixed = x.copy()
    fixed.flags.writeable = False
    for same in (channels_last, np.asfortranarray(x), fixed, x.astype(">f4"), np.repeat(x, 2, axis=0)[::2]):
        np.testing.assert_array_equal(model(same).last_hidden_state, expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_models_dtype_decides(dtype):
    model = vision_model().to(dtype=dtype)
    _, last, pooled = reference.vision(model.state_dict(), model.config, pixels().astype(dtype))
    for given_dtype in ("float16", "float32", "float64"):
        output = model(pixels().astype(given_dtype), output_hidden_states=True)
        assert {output.last_hidden_state.dtype, output.pooler_output.dtype} == {np.dtype(dtype)}
        assert {state.dtype for state in output.hidden_states} == {np.dtype(dtype)}
    x = pixels().astype(dtype)
    # Every activation is rounded to the dtype some dozen times.
    assert_close(model(x).last_hidden_state, last, ulps=100)
    assert_close(model(x).pooler_output, pooled, ulps=100)


def test_float16_overflow_is_an_error_not_nan():
    model = vision_model().map(lambda path, a: a * 1000 if "patch_embed" not in path and "proj" in path else a)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="overflowed float16"):
        model.to(dtype="float16")(pixels())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("path", [
    "encoder.layers.1.ffn.up_proj.weight", "embeddings.position_embedding.weight", "rms_norm.weight",
    "head.output_proj.weight", "head.v_proj.weight", "head.output_proj.bias",
])  # fmt: skip
def test_damaged_weights_are_reported_by_name(path, value):
    model = vision_model()
    model.state_dict()[path].reshape(-1)[3] = value
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=rf"weight {path} holds NaN or infinity"):
        model(pixels())


def test_every_weight_matters():
    model = vision_model(qkv_bias=True, mlp_bias=True)
    before = model(pixels()).pooler_output
    for path, array in model.state_dict().items():
        if path.endswith("k_proj.bias"):  # adds the same to all scores of a query: softmax ignores it
            continue
        kept = array.copy()
        array += 0.1 * np.random.default_rng(0).standard_normal(array.shape).astype(np.float32)
        assert np.abs(model(pixels()).pooler_output - before).max() > 1e-4, path
        array[...] = kept
    np.testing.assert_array_equal(model(pixels()).pooler_output, before)


def test_seeded_construction_runs():
    model = Aimv2VisionModel(vision_config(), seed=3)
    assert np.isfinite(model(pixels()).pooler_output).all()
    assert randomized(model).config == model.config
