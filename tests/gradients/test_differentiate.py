"""The derivative of whole models: by every weight, and by what goes in."""

import numpy as np
import pytest

from aimv2_np import gradient_of, load, textbook, value_and_grad
from aimv2_np.data import tiny_model_path
from aimv2_np.network.contrastive import l2_normalize
from tests.support.models import both_model, pixels, text_model, tokens, vision_config, vision_model

GIVEN = {"pixel_values": pixels()[:2], "input_ids": tokens()[:2]}


def loss(model):
    return model(**GIVEN, return_loss=True).loss


MODELS = {
    "both": (both_model, loss),
    "learned positions": (vision_model, lambda m: (m(pixels()).pooler_output ** 2).sum()),
    "native": (lambda: vision_model(is_native=True), lambda m: (m(pixels()).last_hidden_state ** 2).mean()),
    "stretched": (
        lambda: vision_model(use_head=False),
        lambda m: m(np.repeat(pixels(), 2, 3), interpolate_pos_encoding=True).last_hidden_state.sum(),
    ),
    "texts": (text_model, lambda m: (m(tokens()).pooler_output ** 2).sum()),
    "padded texts": (
        text_model, lambda m: (m(tokens(), np.arange(tokens().shape[1]) < 4 + 0 * tokens()).pooler_output ** 2).sum()
    ),
    "a network without its door": (lambda: vision_model().network, lambda n: n(pixels().astype(np.float64))[1].sum()),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_has_the_slope_of_the_loss(name):
    make, function = MODELS[name]
    model = make().to(dtype="float64")
    value, gradients = value_and_grad(function, model)
    assert value == pytest.approx(float(function(model)), rel=1e-12)
    weights, rng = model.state_dict(), np.random.default_rng(0)
    assert gradients.keys() == weights.keys()
    ways = {path: rng.standard_normal(array.shape) * max(np.abs(array).mean(), 1e-3) for path, array in weights.items()}
    for part in ("embed", "norm", "attention", "ffn", "head", "proj", "scale", ""):
        some = {path for path in weights if part in path}
        moved = [
            float(
                function(
                    model.map(
                        lambda path, array, sign=sign, some=some: array + sign * ways[path] if path in some else array
                    )
                )
            )
            for sign in (1e-5, -1e-5)
        ]
        slope = (moved[0] - moved[1]) / 2e-5
        found = sum(float((gradients[path] * ways[path]).sum()) for path in some)
        assert found == pytest.approx(slope, rel=1e-5, abs=1e-7), part


def test_pixels_have_a_gradient_too():
    model = both_model().to(dtype="float64")
    x, way = GIVEN["pixel_values"].astype(np.float64), np.random.default_rng(0).standard_normal((2, 3, 12, 12))
    way = way[:, :, : x.shape[2], : x.shape[3]]
    found = gradient_of(lambda p: model(GIVEN["input_ids"], p, return_loss=True).loss, x)
    values = [float(model(GIVEN["input_ids"], x + sign * way, return_loss=True).loss) for sign in (1e-6, -1e-6)]
    assert found.shape == x.shape
    assert float((found * way).sum()) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_features_of_texts_of_several_lengths():
    model, ids = text_model(max_position_embeddings=20).to(dtype="float64"), tokens(4, 20)
    ids[[0, 2], 3] = model.config.eos_token_id
    ways = np.random.default_rng(0).standard_normal((4, 12))
    value, found = value_and_grad(lambda m: (m.features(ids) * ways).sum(), model)
    expected, gradients = value_and_grad(lambda m: (m(ids).pooler_output * ways).sum(), model)
    assert value == pytest.approx(float(expected), rel=1e-12)
    for path, array in found.items():
        np.testing.assert_allclose(array, gradients[path], rtol=1e-9, atol=1e-12 * np.abs(gradients[path]).max())


def test_pictures_of_several_sizes_have_the_gradients_of_each():
    model, images = vision_model(is_native=True).to(dtype="float64"), [pixels(1, 12, w)[0] for w in (12, 20, 12)]
    _, found = value_and_grad(lambda m: (m.encode_images(images, warn=False).pooler_output ** 2).sum(), model)
    alone = [value_and_grad(lambda m, x=x: (m(x[None]).pooler_output ** 2).sum(), model)[1] for x in images]
    for path, array in found.items():
        expected = sum(gradients[path] for gradients in alone)
        np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("hidden_act", ["silu", "gelu", "mish", "laplace", "quick_gelu"])
def test_by_hand_as_through_the_equations_as_written(hidden_act):
    """`textbook()` runs the equations themselves, on variables: their derivative is chained from each function's."""
    model = both_model(vision_config=vision_config(hidden_act=hidden_act, use_head=True)).to(dtype="float64")
    by_hand = value_and_grad(loss, model)[1]
    with textbook():
        chained = value_and_grad(loss, model)[1]
    for path, array in by_hand.items():
        np.testing.assert_allclose(array, chained[path], rtol=1e-9, atol=1e-11 * np.abs(array).max())


def test_a_vector_along_one_axis_turns_and_does_not_grow():
    found = gradient_of(lambda x: (l2_normalize(x) * np.array([2.0, 3.0, 4.0])).sum(), np.array([[0.0, 5.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.4, 0.0, 0.8]], atol=1e-15)
    assert np.isfinite(gradient_of(lambda x: l2_normalize(x).sum(), np.zeros((2, 3)))).all()


def test_weights_that_take_no_part_have_zeros():
    _, gradients = value_and_grad(lambda m: m(pixel_values=GIVEN["pixel_values"]).image_embeds.sum(), both_model())
    assert not any(array.any() for path, array in gradients.items() if path.startswith("text_"))
    assert any(array.any() for path, array in gradients.items() if path.startswith("vision_"))


def test_float32_gradients_are_near_those_of_float64():
    single, double = value_and_grad(loss, both_model())[1], value_and_grad(loss, both_model().to(dtype="float64"))[1]
    for path, array in single.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, double[path], rtol=0, atol=1e-4 * max(1e-3, np.abs(double[path]).max()))


def test_half_precision_has_gradients_in_float32():
    model = vision_model().to(dtype="float16")
    _, found = value_and_grad(lambda m: m(pixels()).pooler_output.astype(np.float32).sum(), model)
    _, expected = value_and_grad(lambda m: m(pixels()).pooler_output.sum(), vision_model())
    for path, array in found.items():
        assert array.dtype == np.float32
        assert np.linalg.norm(array - expected[path]) <= 0.05 * np.linalg.norm(expected[path]) + 1e-3


def test_the_embedded_model_learns():
    """A step against the gradient lowers the loss."""
    model = load(tiny_model_path())
    size = model.config.vision_config.image_shape
    rng = np.random.default_rng(0)
    x, ids = rng.standard_normal((4, 3, *size), dtype=np.float32), rng.integers(3, 20, (4, 6))
    ids[:, -1] = model.config.text_config.eos_token_id

    def function(m):
        return m(ids, x, return_loss=True).loss

    value, gradients = value_and_grad(function, model)
    norm = np.sqrt(sum(float((array**2).sum()) for array in gradients.values()))
    lower = function(model.map(lambda path, array: array - np.float32(1e-3 / norm) * gradients[path]))
    assert float(lower) < float(value)


@pytest.mark.parametrize(
    ("function", "model", "error", "words"),
    [
        (loss, 3, TypeError, "model is an int; expected a model"),
        (lambda m: 1.0, None, TypeError, "the function gives a float; expected an array of shape"),
        (lambda m: m(pixels()).pooler_output, None, ValueError, r"shape \(2, 16\); expected a number"),
        (lambda m: m(pixels()).pooler_output.sum() * np.inf, None, ValueError, "expected a finite number"),
    ],
)
def test_what_has_no_gradient(function, model, error, words):
    with pytest.raises(error, match=words):
        value_and_grad(function, vision_model() if model is None else model)


def test_arrays_that_are_no_floats():
    with pytest.raises(ValueError, match="array is an array of int64; expected floats"):
        gradient_of(lambda x: x.sum(), np.arange(3))
    with pytest.raises(TypeError, match="array is a list; expected an array"):
        gradient_of(lambda x: x.sum(), [1.0])


@pytest.mark.parametrize("weights", [["logit_scale"], "logit_scale"], ids=str)
def test_weights_that_are_no_function(weights):
    with pytest.raises(TypeError, match=r"weights is a (list|str); expected a function that takes a weight's path"):
        value_and_grad(loss, both_model(), weights=weights)


def test_there_are_no_second_derivatives():
    """Which were silently those of a constant, or zeros, as the walk inside had taken the way back apart."""
    x = np.array([1.0, 2.0])
    for function in (
        lambda a: (a * gradient_of(lambda b: (a * b).sum(), x)).sum(),
        lambda a: (a * gradient_of(lambda b: (b * (a * a)).sum(), x)).sum(),
    ):
        with pytest.raises(TypeError, match="from outside, of a derivative around this one; expected its own argument"):
            gradient_of(function, x)
    with pytest.raises(ValueError, match="array is differentiated by already; expected numbers: there are no second"):
        gradient_of(lambda a: gradient_of(lambda b: (b * b).sum(), a).sum(), x)
    found = gradient_of(lambda a: (a * gradient_of(lambda b: (b * b).sum(), x)).sum(), x)  # a constant's are fine
    assert found.tolist() == [2.0, 4.0]
