"""`trace(gradients=True)`: gradients by path are slopes, and nothing else of a trace changes."""

import numpy as np
import pytest

from aimv2_np import Aimv2VisionModel, gradient_of, trace, value_and_grad
from aimv2_np.backends.context import having
from aimv2_np.backends.operation import looking_inside
from aimv2_np.network.contrastive import contrastive_loss
from aimv2_np.tree.recorder import RECORDERS, Recorder
from tests.support.models import both_model, pixels, text_model, tokens, vision_config, vision_model

STEP = 1e-6
BOTH = {"pixel_values": pixels().astype(np.float64), "input_ids": tokens()}


class Nudging(Recorder):
    """Adds something to the output of the module at one path."""

    def __init__(self, model, path, way):
        super().__init__({id(module): name for name, module in model.named_modules()}, (), lambda *_: None)
        self.path, self.way = path, way

    def around(self, path, function, *args, **kwargs):
        output = function(*args, **kwargs)
        return output + self.way if path == self.path else output


def slope(model, inputs, path, way, loss):
    values = []
    for sign in (1, -1):
        with having(RECORDERS, (Nudging(model, path, sign * STEP * way),)), looking_inside():
            values.append(float(loss(model(**inputs))))
    return (values[0] - values[1]) / (2 * STEP)


def traced(model, inputs, *args, **kwargs):
    with trace(model, *args, gradients=True, **kwargs) as activations:
        model(**inputs)
    return activations


PATHS = [
    "vision_model.embeddings.patch_embed", "vision_model.embeddings", "vision_model.encoder.layers.0",
    "vision_model.encoder.layers.1.rms_norm1", "vision_model.encoder.layers.0.attention.k_proj",
    "vision_model.encoder.layers.1.ffn.up_proj", "vision_model.encoder.layers.1.ffn", "vision_model.rms_norm",
    "vision_model.head", "visual_projection", "text_model.embeddings.token_embedding",
    "text_model.encoder.layers.1.attention", "text_model.encoder", "text_projection",
]  # fmt: skip


@pytest.mark.parametrize("inner", [False, True])
def test_gradients_by_activations_are_slopes(inner):
    model = both_model().to(dtype="float64")
    activations = traced(model, BOTH, inner=inner)
    rng = np.random.default_rng(0)
    for path in PATHS:
        gradient = activations[f"gradient:{path}"]
        assert gradient.shape == activations[path].shape
        way = rng.standard_normal(gradient.shape)
        expected = slope(model, BOTH, path, way, lambda output: contrastive_loss(output.logits_per_text))
        size = np.linalg.norm(gradient) * np.linalg.norm(way)
        np.testing.assert_allclose((gradient * way).sum(), expected, rtol=0, atol=1e-6 * size, err_msg=path)


def test_the_gradient_by_the_pixels_is_the_end_of_the_chain():
    model = vision_model().to(dtype="float64")
    images = BOTH["pixel_values"]
    found = traced(model, {"pixel_values": images}, ["gradient:pixel_values"])
    assert list(found) == ["gradient:pixel_values"]
    expected = gradient_of(lambda x: model.network(x).pooler_output.sum(), images)
    np.testing.assert_allclose(found["gradient:pixel_values"], expected, rtol=1e-12, atol=1e-14)
    order = [path for path in traced(model, {"pixel_values": images}) if path.startswith("gradient:")]
    assert order.index("gradient:embeddings.patch_embed") + 1 == order.index("gradient:pixel_values")
    assert order.index("gradient:pixel_values") < order.index("gradient:embeddings.patch_embed.weight")


@pytest.mark.filterwarnings("ignore::aimv2_np.errors.UntrainedSizeWarning")
def test_of_a_pack_each_image_has_a_gradient():
    model = vision_model(is_native=True).to(dtype="float64")
    images = [BOTH["pixel_values"][0], BOTH["pixel_values"][1, :, :8]]
    found = traced(model, {"pixel_values": images})
    for i, image in enumerate(images):
        expected = traced(model, {"pixel_values": image[None]})["gradient:pixel_values"]
        assert expected.any()
        np.testing.assert_allclose(found[f"gradient:pixel_values.{i}"], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_gradients_by_weights_are_those_of_value_and_grad(dtype):
    model = both_model().to(dtype=dtype)
    activations = traced(model, BOTH, inner=False)
    _, expected = value_and_grad(lambda m: m(**BOTH, return_loss=True).loss, model)
    for path, gradient in expected.items():
        found = activations[f"gradient:{path}"]
        assert isinstance(found, np.ndarray)
        assert found.dtype == gradient.dtype
        np.testing.assert_array_equal(found, gradient, err_msg=path)


def test_the_forward_record_is_that_of_a_trace_without():
    model = both_model()
    for inner in (False, True):
        with trace(model, inner=inner) as plain:
            model(**BOTH)
        found = traced(model, BOTH, inner=inner)
        gradients = [path for path in found if path.startswith("gradient:")]
        assert [path for path in found if path not in gradients] == list(plain)
        for path, array in plain.items():
            np.testing.assert_array_equal(found[path], array)
            assert found[f"gradient:{path}"].shape == array.shape


def test_gradients_come_from_the_loss_to_the_input():
    paths = [path for path in traced(vision_model(use_head=True), {"pixel_values": pixels()}) if "gradient:" in path]
    chain = ["head", "rms_norm", "encoder.layers.1", "encoder.layers.1.ffn", "encoder.layers.0", "embeddings.rms_norm"]
    chain += ["embeddings.patch_embed"]
    assert sorted(chain, key=lambda path: paths.index(f"gradient:{path}")) == chain


@pytest.mark.parametrize(
    ("model", "inputs", "summed"),
    [
        (vision_model(use_head=True), {"pixel_values": pixels()}, "pooler_output"),
        (vision_model(use_head=False), {"pixel_values": pixels()}, "last_hidden_state"),
        (text_model(), {"input_ids": tokens()}, "pooler_output"),
        (both_model(), {"input_ids": tokens()}, "text_embeds"),
        (both_model(), {"pixel_values": pixels()}, "image_embeds"),
        (both_model(), {"input_ids": tokens(1), "pixel_values": pixels()}, "logits_per_text"),
    ],
)
def test_without_a_loss_it_is_the_sum_of_what_comes_out_last(model, inputs, summed):
    activations = traced(model, inputs)
    np.testing.assert_array_equal(activations[f"gradient:{summed}"], np.ones_like(activations[summed]))


def test_a_loss_of_any_activation():
    path = "encoder.layers.0"
    found = traced(vision_model(), {"pixel_values": pixels()}, loss=lambda a: 2 * a[path][0, 5].sum())
    expected = np.zeros_like(found[path])
    expected[0, 5] = 2
    np.testing.assert_array_equal(found[f"gradient:{path}"], expected)
    assert not found["gradient:encoder.layers.1"].any()  # takes no part
    assert not found["gradient:encoder.layers.1.ffn.up_proj.weight"].any()


def test_gradients_of_images_of_several_sizes():
    model = vision_model(use_head=True, is_native=True).to(dtype="float64")
    images = [pixels(1, 12, 12)[0].astype(np.float64), pixels(1, 16, 8)[0].astype(np.float64)]
    with pytest.warns(match="112"):
        activations = traced(model, {"pixel_values": images})
    assert activations["gradient:embeddings.1"].shape == activations["embeddings.1"].shape
    with pytest.warns(match="112"):
        _, expected = value_and_grad(lambda m: m(images).pooler_output.sum(), model)
    for path, gradient in expected.items():
        atol = 1e-12 * max(1.0, np.abs(gradient).max())
        np.testing.assert_allclose(activations[f"gradient:{path}"], gradient, rtol=0, atol=atol)


def test_globs_ask_for_gradients_alone():
    found = traced(vision_model(), {"pixel_values": pixels()}, "gradient:*.0.ffn.gate_proj*")
    assert list(found) == [
        f"gradient:encoder.layers.0.ffn.gate_proj{part}" for part in ("", ".weight")
    ]  # fmt: skip


def test_they_are_stored_as_they_come():
    came = []
    with trace(vision_model(), gradients=True, store=lambda path, array: came.append(path)) as activations:
        Aimv2VisionModel(vision_config())(pixels())  # another model: nothing of it
        assert not came
    assert not activations
    model = vision_model()
    with trace(model, gradients=True, store=lambda path, array: came.append(path)):
        model(pixels())
        assert came
        assert not any(path.startswith("gradient:") for path in came)
    assert f"gradient:{came[0]}" in came


def test_a_trace_in_a_trace_and_outputs_of_layers():
    model, x = vision_model(), pixels()
    with trace(model, "*.ffn") as outer, trace(model, gradients=True) as inner:
        output = model(x, output_hidden_states=True)
    assert list(outer) == ["encoder.layers.0.ffn", "encoder.layers.1.ffn"]
    np.testing.assert_array_equal(output.hidden_states[1].value, inner["encoder.layers.0"])
    assert (inner["gradient:encoder.layers.0.ffn"] != 0).any()


def test_what_cannot_be_differentiated():
    model, x = vision_model(), pixels()
    with pytest.raises(ValueError, match="loss is given without gradients"), trace(model, loss=lambda a: a):
        pass
    with pytest.raises(TypeError, match="the function gives a float"):
        traced(model, {"pixel_values": x}, loss=lambda a: 1.0)
    with pytest.raises(ValueError, match="expected a number"):
        traced(model, {"pixel_values": x}, loss=lambda a: a["encoder"])
    with pytest.raises(ValueError, match="pass a loss"), trace(model, gradients=True):
        model.embeddings(x)
    with pytest.raises(ValueError, match="matches no activation"):
        traced(model, {"pixel_values": x}, "nothing")
