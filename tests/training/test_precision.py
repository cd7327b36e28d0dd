"""Mixed precision: what is rounded, what is not, and how the factor of a loss in float16 finds its way."""

import numpy as np
import pytest

from aimv2_np import to_numpy, value_and_grad
from aimv2_np.backends.narrow import Narrow
from aimv2_np.gradients.half import narrow_products
from aimv2_np.training import DivergedError, Recipe, Schedule, train
from aimv2_np.training.loop import moved
from aimv2_np.training.precision import LossScale, in_precision
from aimv2_np.training.state import State
from aimv2_np.training.step import take_step
from tests.support.training import begun, recipe, task

# Rounding a number once is off by half of this, relatively. A step multiplies hundreds of rounded numbers whose errors
# point anywhere; what adds up over ten steps, at the highest rate of 1e-2, is a few times one of them.
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
PRECISIONS = pytest.mark.parametrize("precision", sorted(EPS))


def losses_of(folder, steps=10, backend="numpy", **changes):
    """The losses of some steps, and the weights after them."""
    told = []
    network = train(task(), recipe(steps, **changes), folder, backend=backend, progress=told.append)
    return np.array([line["loss"] for line in told]), network.state_dict()


@PRECISIONS
def test_ten_steps_are_those_of_float32_to_rounding(tmp_path, precision):
    expected, weights = losses_of(tmp_path / "a")
    found, others = losses_of(tmp_path / "b", precision=precision)
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=EPS[precision])
    assert all(array.dtype == np.float32 for array in others.values())
    # AdamW's steps are as long for a small gradient as for a large one, so single weights may go astray, not most
    for path, array in weights.items():
        assert np.median(abs(others[path] - array)) <= 0.01, path


@PRECISIONS
def test_gradients_are_those_of_the_rounded_weights(precision):
    """Each against float64 of the same rounded weights: off by what activations and gradients were rounded by."""
    made = task()
    batch = made.batch(range(4))
    with narrow_products():
        _, found = value_and_grad(lambda n: made.losses(in_precision(n, precision), batch)["loss"] * 1024, made.network)
    rounded = in_precision(made.network, precision).map(lambda _, weight: np.asarray(weight, np.float64))
    exact = batch[0]._replace(pixels=batch[0].pixels.astype(np.float64)), batch[1]
    _, expected = value_and_grad(lambda n: made.losses(n, exact)["loss"], rounded)
    largest = max(np.linalg.norm(array) for array in expected.values())
    for path, array in found.items():
        assert array.dtype == np.float32
        error = np.linalg.norm(array / 1024 - expected[path])
        assert error <= 4 * EPS[precision] * (np.linalg.norm(expected[path]) + 0.05 * largest), path


def test_what_is_rounded():
    network = in_precision(task().network, "bfloat16")
    kinds = {path: type(array) for path, array in network.state_dict().items()}
    assert kinds["decoder.connector.weight"] is Narrow
    assert kinds["decoder.connector.bias"] is np.ndarray
    half = in_precision(task().network, "float16")
    assert {str(array.dtype) for array in half.state_dict().values()} == {"float16"}
    network = task().network
    assert in_precision(network, None) is network


def test_gradients_too_small_for_float16_come_back_by_the_factor():
    """Of 1e-9 times the loss nothing is left in float16; with a factor it is."""
    made = task()
    batch = made.batch(range(4))

    def gradient(factor):
        def loss(network):
            return made.losses(in_precision(network, "float16"), batch)["loss"] * (1e-9 * factor)

        with narrow_products():
            _, gradients = value_and_grad(loss, made.network)
        return np.linalg.norm(gradients["vision_model.encoder.layers.0.ffn.up_proj.weight"] / factor)

    assert gradient(1.0) == 0
    assert gradient(2.0**24) > 0


def test_the_factor_is_halved_where_a_gradient_overflows_and_the_step_is_skipped():
    made, how = task(), recipe(precision="float16")
    state, network = begun(made)
    state.scale = LossScale(2.0**40)
    before = {path: array.copy() for path, array in state.weights.items()}
    told = [take_step(made, network, how, state, [made.batch(range(4))]) for _ in range(2)]
    assert [(it["scale"], it["skipped"], it["norm"]) for it in told] == [(2.0**40, 1, 0.0), (2.0**39, 2, 0.0)]
    assert state.step == 2
    for path, array in state.weights.items():
        np.testing.assert_array_equal(array, before[path])
    while state.scale.factor > 2.0**16:
        told = take_step(made, network, how, state, [made.batch(range(4))])
        if told["norm"]:
            break
    assert told["norm"] > 0
    assert told["skipped"] == state.step - 1
    assert any(not np.array_equal(array, before[path]) for path, array in state.weights.items())


def test_the_factor_is_doubled_after_many_good_steps():
    scale = LossScale(4.0)
    assert all(scale.took(1.0) for _ in range(LossScale.DOUBLED_AFTER))
    assert (scale.factor, scale.good, scale.skipped) == (8.0, 0, 0)
    assert not scale.took(float("nan"))
    assert (scale.factor, scale.good, scale.skipped) == (4.0, 0, 1)
    scale = LossScale(LossScale.LARGEST, LossScale.DOUBLED_AFTER - 1)
    assert scale.took(1.0)
    assert scale.factor == LossScale.LARGEST


def test_a_gradient_that_no_factor_mends_is_told():
    class Steep:
        network, facts = task().network, {}

        def trained(self, path):
            return True

        def losses(self, network, batch):
            wide = network.decoder.connector.bias.astype(np.float32)  # zeros
            return {"loss": (1e25 * (1e25 * wide)).sum()}

    state, network = begun(Steep())
    state.scale = LossScale(1.0)
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="the loss is finite, but not the gradient of"):
        take_step(Steep(), network, recipe(precision="float16"), state, [None])


@PRECISIONS
def test_interrupted_it_goes_on_to_the_same_bits(tmp_path, precision):
    how = recipe(6, precision=precision, average=0.9)
    whole = train(task(), how, tmp_path / "whole", save_every=1)

    def stop(numbers):
        if numbers["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task(), how, tmp_path / "parts", save_every=2, progress=stop)
    again = train(task(), how, tmp_path / "parts")
    for path, array in whole.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[path], array)
    states = [State.load(tmp_path / name)[0] for name in ("whole", "parts")]
    assert states[0].scale == states[1].scale == (LossScale(good=6) if precision == "float16" else None)


def test_another_precision_is_another_training(tmp_path):
    train(task(), recipe(2), tmp_path)
    with pytest.raises(ValueError, match=r"recipe.precision is None, and now it is 'bfloat16'; expected the same"):
        train(task(), recipe(2, precision="bfloat16"), tmp_path)


@pytest.mark.parametrize("value", ["float32", "half", 16])
def test_a_precision_that_there_is_not(value):
    with pytest.raises(ValueError, match=r"precision is .*; expected 'float16' or 'bfloat16', or None"):
        Recipe(Schedule(1), precision=value)


@pytest.mark.parametrize(("precision", "steps"), [(None, 10), ("float16", 4), ("bfloat16", 4)])
def test_on_a_gpu_it_is_the_same_training(cupy, tmp_path, precision, steps):
    """To rounding; in parts, and with layers that are computed twice."""
    how = {"precision": precision, "accumulate": 2, "recompute": 1} if precision else {}
    expected, _ = losses_of(tmp_path / "a", steps, **how)
    found, weights = losses_of(tmp_path / "b", steps, backend="cupy", **how)
    np.testing.assert_allclose(found, expected, rtol=EPS.get(precision, 1e-4))
    assert all(isinstance(array, np.ndarray) for array in weights.values())


def test_begun_on_one_gone_on_with_on_the_other(cupy, tmp_path):
    whole, _ = losses_of(tmp_path / "whole", 5, average=0.9)
    found = []

    def stop(numbers):
        found.append(numbers["loss"])
        if numbers["step"] in (2, 4):
            raise KeyboardInterrupt

    for backend in ("cupy", "numpy"):
        with pytest.raises(KeyboardInterrupt):
            train(task(), recipe(5, average=0.9), tmp_path / "b", save_every=1, progress=stop, backend=backend)
        assert State.load(tmp_path / "b")[0].step == len(found)
    train(task(), recipe(5, average=0.9), tmp_path / "b", progress=stop, backend="cupy")
    np.testing.assert_allclose(found, whole, rtol=1e-4)


def test_batches_are_moved_as_they_are_nested(cupy):
    batch = task().batch(range(2))
    pairs, prefix = moved({"both": [batch]}, "cupy")["both"][0]
    assert type(pairs) is type(batch[0])
    assert isinstance(pairs.pixels, cupy.ndarray)
    np.testing.assert_array_equal(to_numpy(prefix), batch[1])
    assert moved("text", "cupy") == "text"
