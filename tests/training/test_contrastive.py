import numpy as np
import pytest

from aimv2_np import load, value_and_grad
from aimv2_np.training import Contrastive, train
from aimv2_np.training.contrastive import LOCKED
from tests.support.models import both_config, text_config, vision_config, vision_model
from tests.support.training import Squares, processor, recipe


def task(**changes):
    tokenizer = processor().tokenizer
    text = text_config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    return Contrastive(both_config(text_config=text), changes.pop("pictures", Squares(3)), processor(), **changes)


def test_the_loss_is_the_models():
    made = task()
    batch = made.batch(range(3))
    model = made.model(made.network)
    expected = model(batch.ids, batch.pixels, batch.keys.astype(int), return_loss=True).loss
    np.testing.assert_allclose(made.losses(made.network, batch)["loss"], expected, rtol=1e-6)


def test_a_locked_trunk_stays_as_it_is_and_the_rest_learns(tmp_path):
    trunk = vision_model(use_head=False)
    made = task(trunk=trunk, locked=True)
    numbers = []
    network = train(made, recipe(30, batch_size=3), tmp_path, progress=numbers.append)
    begun, found = made.network.state_dict(), network.state_dict()
    for path, array in found.items():
        same = np.array_equal(array, begun[path])
        assert same == path.startswith(LOCKED), path
    for path, array in trunk.state_dict().items():
        np.testing.assert_array_equal(found[f"vision_model.{path}"], array)
    assert numbers[-1]["loss"] < 0.5 * numbers[0]["loss"]
    made.model(network).save_pretrained(tmp_path / "model")
    assert load(tmp_path / "model").config == made.config


def test_of_a_locked_trunk_no_gradient_is_computed():
    made = task(trunk=vision_model(use_head=False), locked=True)
    batch = made.batch(range(3))
    _, gradients = value_and_grad(lambda n: made.losses(n, batch)["loss"], made.network, weights=made.trained)
    assert "vision_model.head.cls_token" in gradients
    assert not any(path.startswith(LOCKED) for path in gradients)


def test_a_trunk_may_be_trained_on():
    made = task(trunk=vision_model())
    assert all(made.trained(path) for path in made.network.state_dict())
    weight = made.network.vision_model.encoder.layers[0].attention.q_proj.weight
    np.testing.assert_array_equal(weight, vision_model().encoder.layers[0].attention.q_proj.weight)


def test_another_trunk_is_another_training(tmp_path):
    first, second = (task(trunk=vision_model(seed, use_head=False), locked=True) for seed in (0, 1))
    train(first, recipe(1, batch_size=3), tmp_path)
    with pytest.raises(ValueError, match=r"task.trunk is \d+, and now it is"):
        train(second, recipe(1, batch_size=3), tmp_path)


def test_a_picture_alone_competes_with_none():
    with pytest.raises(ValueError, match=r"a contrastive batch is of 1 picture; expected batch_size / accumulate"):
        task().batch(range(1))


def test_a_trunk_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"trunk: vision_model.* is .*; expected the shape .* of config.vision_config"):
        _ = task(trunk=vision_model(hidden_size=32)).network
    with pytest.raises(ValueError, match="locked is True without a trunk"):
        task(locked=True)
    assert vision_config().hidden_size == 16


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_on_a_gpu_and_in_half_precision_a_locked_trunk_stays_as_it_is(cupy, tmp_path, precision):
    """And the losses are those of float32 to rounding: of logits that are about 14 cosines."""
    made = task(trunk=vision_model(use_head=False), locked=True)
    told = {name: [] for name in ("expected", "found")}
    how = recipe(3, batch_size=3)
    train(made, how, tmp_path / "a", progress=told["expected"].append)
    how = recipe(3, batch_size=3, precision=precision)
    network = train(made, how, tmp_path / "b", backend="cupy", progress=told["found"].append)
    for path, array in made.network.state_dict().items():
        if path.startswith(LOCKED):
            np.testing.assert_array_equal(network.state_dict()[path], array)
    losses = [[line["loss"] for line in lines] for lines in told.values()]
    within = 14 * 2.0**-7 if precision else 1e-4
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=within)
