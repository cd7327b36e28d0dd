"""Whole models on the device, from the door to the outputs."""

import numpy as np
import pytest

from aimv2_np import Aimv2VisionModel, to_numpy
from aimv2_np.backends.arrays import move
from tests.kernels.cuda.arrays import DTYPES, eps, exact, on_device
from tests.support.graphs import counted
from tests.support.models import both_config, both_model, pixels, tokens, vision_config, vision_model

CONFIGS = {
    "plain": {},
    "biases": {"vision_config": vision_config(qkv_bias=True, mlp_bias=True)},
    "native": {"vision_config": vision_config(is_native=True)},
    "gelu": {"vision_config": vision_config(hidden_act="gelu_pytorch_tanh")},
    "128 numbers a head": {"vision_config": vision_config(hidden_size=256)},
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_towers(cupy, config, dtype):
    """Against float64; the arithmetic of two blocks, a head and a projection on numbers of size one."""
    model = both_model(**CONFIGS[config])
    device = on_device(cupy, model, dtype)
    host = model.map(lambda _, array: array.astype(DTYPES[dtype]).astype(np.float64))
    ids, padding, picture = tokens(3, 7), np.ones((3, 7), np.int64), pixels(2)
    padding[1, 4:] = 0
    expected = host(ids, picture.astype(DTYPES[dtype]).astype(np.float64), padding)
    for _ in range(3):
        output = device(ids, picture, padding)
        assert type(output.image_embeds) is cupy.ndarray
        for name in ("image_embeds", "text_embeds"):
            found = exact(getattr(output, name))
            assert np.linalg.norm(found - expected[name], axis=-1).max() < 40 * eps(dtype)


def test_a_tower_is_recorded_as_a_whole(cupy):
    """Once per kind of input, and then replayed."""
    model = both_model()
    device = on_device(cupy, model)
    with counted() as graphs:
        for _ in range(4):
            device.vision_model(pixels(2))
            device.text_model(tokens(3, 7))
    assert graphs == {"recorded": 2, "replayed": 6, "failed": 0}
    with counted() as graphs:
        for causal in (True, False):
            for _ in range(3):
                found = device.text_model(tokens(3, 7), causal=causal).last_hidden_state
                expected = model.text_model(tokens(3, 7), causal=causal).last_hidden_state
                np.testing.assert_allclose(to_numpy(found), expected, atol=1e-5)
    assert graphs == {"recorded": 1, "replayed": 5, "failed": 0}


def test_stretched_positions_are_recorded(cupy):
    """From the table as it is, not as it was: replaced, or changed in place."""
    model = both_model().vision_model
    device = on_device(cupy, model)
    larger = pixels(1, 16, 20)

    def check():
        for _ in range(3):
            found = device(larger, interpolate_pos_encoding=True).pooler_output
            expected = model(larger, interpolate_pos_encoding=True).pooler_output
            np.testing.assert_allclose(to_numpy(found), expected, atol=1e-5)

    with counted() as graphs:
        check()
    assert graphs == {"recorded": 1, "replayed": 2, "failed": 0}
    table = model.embeddings.position_embedding.weight
    model.embeddings.position_embedding.weight = 2 * table
    device.embeddings.position_embedding.weight *= 2
    check()
    model.embeddings.position_embedding.weight = table[::-1].copy()
    device.embeddings.position_embedding.weight = cupy.asarray(table[::-1].copy())
    with counted() as graphs:
        check()
    assert graphs == {"recorded": 1, "replayed": 2, "failed": 0}


@pytest.mark.parametrize("changes", [{}, {"vision_config": vision_config(is_native=True)}], ids=["learned", "native"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_everything_that_runs_often_is_recorded(cupy, dtype, changes):
    """Each way through the towers that takes a graph gets one; a recording that fails would raise a warning here."""
    device = on_device(cupy, both_model(**changes), dtype)
    padding, patches = np.ones((3, 7), np.int64), np.ones((2, 9), np.int64)
    padding[1, 4:], patches[0, 5:] = 0, 0
    calls = [
        lambda: device.vision_model(pixels(2)),
        lambda: device.vision_model(pixels(2), attention_mask=patches),
        lambda: device.vision_model(pixels(1, 16, 20), interpolate_pos_encoding=True),
        lambda: device.text_model(tokens(3, 7), padding),
        lambda: device.text_model(tokens(3, 7), padding, causal=False),
        lambda: device.get_text_features(tokens(1, 7)),
        lambda: device.vision_model.extract_features(pixels(2), layers=(-1,)),
    ]
    for call in calls:
        call()
        with counted() as graphs:
            call()
            call()
        assert graphs == {"recorded": 1, "replayed": 2, "failed": 0}


def test_float64_is_not_recorded(cupy):
    device = both_model().vision_model.to("cupy", "float64")
    with counted() as graphs:
        for _ in range(3):
            device(pixels(2))
    assert graphs == {"recorded": 0, "replayed": 0, "failed": 0}


def test_a_recorded_tower_sees_other_weights(cupy):
    model = vision_model()
    device = on_device(cupy, model)
    for _ in range(3):
        device(pixels(1))
    model.head.cls_token = 2 * model.head.cls_token
    device.head.cls_token = 2 * device.head.cls_token
    device.rms_norm.weight *= 3  # in place
    model.rms_norm.weight = 3 * model.rms_norm.weight
    for _ in range(3):
        np.testing.assert_allclose(to_numpy(device(pixels(1)).pooler_output), model(pixels(1)).pooler_output, atol=1e-5)


def test_outputs_and_features_are_on_the_device(cupy):
    model = both_model()
    device = on_device(cupy, model)
    features = device.get_image_features(pixels(3))
    assert type(features) is cupy.ndarray
    np.testing.assert_allclose(to_numpy(features), model.get_image_features(pixels(3)), atol=1e-5)
    given = device.get_image_features(cupy.asarray(pixels(3)))
    np.testing.assert_array_equal(given.get(), features.get())
    np.testing.assert_allclose(
        to_numpy(device.get_text_features(tokens(4, 8))), model.get_text_features(tokens(4, 8)), atol=1e-5
    )


def test_hidden_states_and_attentions(cupy):
    model = vision_model()
    asked = {"output_hidden_states": True, "output_attentions": True}
    found, expected = on_device(cupy, model)(pixels(2), **asked), model(pixels(2), **asked)
    for name in ("hidden_states", "attentions"):
        for one, other in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(to_numpy(one), other, atol=1e-5)


def test_a_batch_does_not_change_its_members(cupy):
    device = on_device(cupy, vision_model(), "float16")
    together = device(pixels(5)).pooler_output.get()
    alone = np.concatenate([device(pixels(5)[i : i + 1]).pooler_output.get() for i in range(5)])
    np.testing.assert_allclose(together.astype(float), alone.astype(float), atol=4 * eps("float16"))


def test_names_shapes_and_values_stay(cupy):
    model = both_model(**CONFIGS["biases"])
    device = on_device(cupy, model)
    state = device.state_dict()
    assert list(state) == list(model.state_dict())
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(move(state[path], "numpy"), array)
    assert device.num_parameters() == model.num_parameters()


def test_memory_is_that_of_the_weights_once(cupy):
    before = cupy.get_default_memory_pool().used_bytes()
    model = Aimv2VisionModel(vision_config(hidden_size=128, intermediate_size=256))
    device = on_device(cupy, model)
    weights = sum(array.nbytes for array in model.state_dict().values())
    used = cupy.get_default_memory_pool().used_bytes() - before
    assert weights <= used <= weights + 512 * len(model.state_dict())
    assert device.num_parameters() == model.num_parameters()


def test_a_config_of_two_towers_is_what_is_tested():
    assert both_config().vision_config.use_head
