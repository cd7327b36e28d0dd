"""What a reader calls on an array beyond what the network does: NumPy's number, and its slope."""

import numpy as np
import pytest

from aimv2_np.gradients import Variable
from aimv2_np.gradients.composed import COMPOSED
from tests.support.gradients import check

ONE = {
    "negative": np.negative, "positive": np.positive, "square": np.square, "copy": lambda a: a.copy(),
    "reciprocal": lambda a: np.reciprocal(2 + a * a), "remainder": lambda a: np.remainder(a, 0.7) + 5 % (3 + a),
    "minimum": lambda a: np.minimum(a, 0.3), "exp2": np.exp2, "log2": lambda a: np.log2(2 + a * a),
    "log10": lambda a: np.log10(2 + a * a), "min": lambda a: a.min(axis=(0, 1)) + np.amin(a), "ptp": np.ptp,
    "std": lambda a: a.std(axis=1, ddof=1, keepdims=True), "var": lambda a: a.var() + np.var(a, axis=(0, -1)),
    "dot": lambda a: a[0].dot(a[1].T) + np.dot(a[0], a[1, 0])[:, None], "outer": lambda a: np.outer(a[0], a[1]),
    "ravel": lambda a: a.ravel() * np.arange(24) + a.flatten(),
    "swapaxes": lambda a: np.swapaxes(a, 0, 2) * np.arange(2),
    "flip": lambda a: np.flip(a, -1) * a + np.flip(a), "sort": lambda a: np.sort(a, axis=1) * np.arange(4),
    "diagonal": lambda a: a[0, :, :3].diagonal(), "trace": lambda a: np.trace(a[1, :, :3]),
    "prod": lambda a: a.prod() + a.prod(axis=-1, keepdims=True) + np.prod(a * (a > 0), axis=0),
    "cumsum": lambda a: a.cumsum(axis=1) * a + np.cumsum(a)[3], "clip": lambda a: a.clip(-0.5, 0.7) + a.clip(max=a[0]),
    "squeeze": lambda a: a[:, :1].squeeze() + a[:1, :, None].squeeze(axis=(0, 2))[:2],
    "expand_dims": lambda a: np.expand_dims(a, (0, -1)) * np.arange(3), "sin": np.sin, "cos": np.cos,
    "take": lambda a: a.take([1, 1, 0], axis=0) + np.take(a, [5, 0]).sum(), "log1p": lambda a: np.log1p(a * a),
    "repeat": lambda a: a.repeat(2, axis=-1) * np.arange(8) + np.repeat(a, 2)[1], "expm1": np.expm1,
    "a number to the power": lambda a: 2.0**a, "a power of two": lambda a: np.power(1 + a * a, a),
    "the power 0": lambda a: (a * 0.0) ** 0 + a, "iteration": lambda a: sum(row * i for i, row in enumerate(a)),
    "abs": lambda a: abs(a) + np.absolute(a), "keywords": lambda a: np.sum(a=a),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_of_one_array(name):
    array = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_allclose(np.asarray(ONE[name](Variable(array)).value), ONE[name](array), rtol=1e-13, atol=1e-13)
    check(ONE[name], array)


def test_all_are_tried():
    assert ONE.keys() >= COMPOSED.keys()


def test_products_of_numbers_of_which_some_are_0():
    check(lambda a: a.prod(axis=0), np.array([[0.0, 0.0, 2.0], [3.0, 0.0, 4.0]]))


def test_gradients_keep_the_dtype():
    a = np.linspace(0.5, 2, 6, dtype=np.float32)
    for function in (lambda x: 2.0**x, lambda x: x.std(), lambda x: x**0.5, lambda x: x.clip(1, 1.5), lambda x: 5 % x):
        assert function(Variable(a)).dtype == np.float32
